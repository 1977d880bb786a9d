package event

// ReservedNamespaces are the words that may not name a namespace because they have a meaning at that place of a
// DNS name. Names that begin with "at-" are reserved likewise.
var ReservedNamespaces = []string{"service", "instance", "node", "election", "query"}

// IsNamespaceName tells whether s has the form of a namespace's name: a DNS label in lower case. It does not ask
// whether the name is reserved.
func IsNamespaceName(s string) bool {
	if s == System {
		return true
	}
	if len(s) == 0 || len(s) > NamespaceBytesMax || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// IsMemberName tells whether s can name a server: 1 to 63 letters, digits, hyphens, dots and underscores, the first and
// the last of them a letter or a digit.
func IsMemberName(s string) bool {
	alphanumeric := func(c byte) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
	}
	if len(s) == 0 || len(s) > MemberBytesMax || !alphanumeric(s[0]) || !alphanumeric(s[len(s)-1]) {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !alphanumeric(c) && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return true
}

// IsDNSLabel tells whether s can stand as one label of a DNS name: 1 to 63 letters, digits, hyphens (not first,
// not last) and underscores (RFC 1035 section 2.3.1, with the underscore of RFC 8552). Names that are no labels
// may be registered, but DNS cannot ask for them.
func IsDNSLabel(s string) bool {
	if len(s) == 0 || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}
