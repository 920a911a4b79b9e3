package remote

import (
	"testing"

	"pgregory.net/rapid"

	"sheaf/vfs"
	"sheaf/vfs/vfstest"
)

// otherFailure allows a failure with another status than the Model's where several
// things are wrong at once and a server looks at them in another order: nfsd refuses
// sizes and offsets beyond 2^63-1 before it looks at the object (Q7).
func otherFailure(_ string, under, _ vfs.Status) bool { return under == vfs.FBig }

// TestProgramModel runs random programs through nfsd over a Model, in lockstep with
// another Model. A restart starts another server, at another address, over the
// Model after a crash of it; the Client goes on with the handles it has.
func TestProgramModel(t *testing.T) {
	for name, shape := range shapes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				under := model()
				s := newServer(t, under)
				defer s.stop()
				c, done := s.client(t, shape)
				defer done()
				vfstest.RunProgram(t, c, vfstest.ProgramOptions{
					Options: vfstest.Options{NoACLs: true},
					Restart: func(*rapid.T) vfs.FS {
						s.stop()
						under.Restart()
						s.start(under)
						return c
					},
					OtherFailure: otherFailure,
				})
			})
		})
	}
}
