package vfs

// NameMax is the longest name of an object, in bytes (NAME_MAX of Linux).
const NameMax = 255

// Name is one component of a path. It is never empty, "." or "..", holds no
// slash and no NUL, and is at most NameMax bytes; it need not be UTF-8. The
// only way to a Name is [ParseName], so nobody below checks again. The zero
// Name is no name and is only for "none".
type Name struct{ s string }

// ParseName checks s and makes a Name of it. Its errors are the statuses that
// RFC 1813 gives for such names: NameTooLong; Inval for the empty name and for
// a NUL; Acces for a slash (knfsd and Solaris answer so); Exist for "." and
// "..", which always exist (callers that resolve these do so beforehand).
func ParseName(s string) (Name, error) {
	switch {
	case s == "":
		return Name{}, Inval
	case len(s) > NameMax:
		return Name{}, NameTooLong
	case s == "." || s == "..":
		return Name{}, Exist
	}
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '/':
			return Name{}, Acces
		case 0:
			return Name{}, Inval
		}
	}
	return Name{s}, nil
}

// MustName is ParseName for names known to be valid; it panics otherwise.
func MustName(s string) Name {
	n, err := ParseName(s)
	if err != nil {
		panic("vfs: not a name: " + s)
	}
	return n
}

// String is the name's bytes.
func (n Name) String() string { return n.s }

// IsZero reports whether n is the zero Name.
func (n Name) IsZero() bool { return n.s == "" }
