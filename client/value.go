package client

import "unicode/utf8"

// wireValue is a value in JSON: as text where it can be read as such, in base64 otherwise.
type wireValue struct {
	Value       *string `json:"value,omitempty"`
	ValueBase64 []byte  `json:"value_base64,omitempty"`
}

func newWireValue(b []byte) wireValue {
	if len(b) == 0 || isText(b) { // an absent field would be no value; the empty text is one
		s := string(b)
		return wireValue{Value: &s}
	}
	return wireValue{ValueBase64: b}
}

func (w wireValue) bytes() []byte {
	if w.Value != nil {
		return []byte(*w.Value)
	}
	return w.ValueBase64
}

// isText tells whether a value survives as a JSON text: UTF-8 without control characters other than tab and line ends.
func isText(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' && c != '\n' && c != '\r' || c == 0x7f {
			return false
		}
	}
	return utf8.Valid(b)
}
