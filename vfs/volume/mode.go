package volume

import "fmt"

// Mode is what the operator lets a volume be used for. It lives in the markers' lists of members.
type Mode uint8

// The modes.
const (
	ReadWrite Mode = iota // everything
	NoCreate              // nothing new is placed on it; what is there can be changed and removed
	ReadOnly              // nothing on it changes: ROFS
)

// modeWords are what operators and markers call the modes.
var modeWords = [...]string{ReadWrite: "rw", NoCreate: "nc", ReadOnly: "ro"}

// String is the word for m.
func (m Mode) String() string {
	if int(m) < len(modeWords) {
		return modeWords[m]
	}
	return fmt.Sprintf("Mode(%d)", uint8(m))
}

// ParseMode reads rw, nc or ro.
func ParseMode(s string) (Mode, error) {
	for m, word := range modeWords {
		if s == word {
			return Mode(m), nil
		}
	}
	return 0, fmt.Errorf("%q is no mode of a volume: want rw (everything), nc (nothing new) or ro (no changes)", s)
}

// MarshalText writes the word.
func (m Mode) MarshalText() ([]byte, error) {
	if int(m) >= len(modeWords) {
		return nil, fmt.Errorf("%v is no mode of a volume", m)
	}
	return []byte(modeWords[m]), nil
}

// UnmarshalText reads what MarshalText wrote.
func (m *Mode) UnmarshalText(b []byte) (err error) {
	*m, err = ParseMode(string(b))
	return err
}
