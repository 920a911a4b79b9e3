package share

import "sheaf/vfs/volume"

// weaknesses are the promises that a volume cannot keep, in words, for the log.
func weaknesses(c *volume.Caps) []string {
	var all []string
	for _, w := range []struct {
		lacks bool
		text  string
	}{
		{c.ReadOnly, "it is mounted read-only: new files go elsewhere, and what lies on it cannot be changed"},
		{!c.StrongIdentity, "its file system uses an object's number again without telling: a handle that a client holds of a removed file may lead to a newer one"},
		{!c.Marks, "it keeps no extended attributes: what is to be written beside files goes to .sheaf/marks instead"},
		{!c.Durable, "its file system does not promise to keep what it was told to sync: after a power cut, acknowledged changes may be lost"},
		{!c.NoReplace, "it cannot rename without replacing at once: a file that something else puts there in the same moment may be replaced"},
		{c.Quiet != 0, "its directories' times are coarse (" + FormatDuration(c.Quiet) + "): they are read again until they are older"},
	} {
		if w.lacks {
			all = append(all, w.text)
		}
	}
	return all
}

// sayWeaknesses logs them, once for each volume that is there.
func (s *Share) sayWeaknesses() {
	for _, c := range s.members.list() {
		if c.vol.State().Attached == 0 {
			continue
		}
		caps := c.vol.Caps()
		for _, w := range weaknesses(&caps) {
			s.log.Warn("a volume cannot do everything", "op", "start", "volume", c.cfg.Name, "lacks", w)
		}
	}
}
