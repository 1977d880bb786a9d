//go:build !faults || !unix

package fault

// On tells whether this build has faults.
const On = false

// Point is a place where a test may have the server die or wait.
func Point(string) {}

// Cut tells whether what server from has sent to server to is to be lost.
func Cut(_, _ string) bool { return false }

// Broken tells whether a part is to be wrong on purpose.
func Broken(string) bool { return false }

// Value is a number that a test may change.
func Value(_ string, normal uint64) uint64 { return normal }
