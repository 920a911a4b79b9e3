package share

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// TestTrouble: a share whose configuration has faults and delays fails as they say, and says so loudly.
func TestTrouble(t *testing.T) {
	c := shareConfig(t, tempDir(t), "a")
	for key, value := range map[string]string{
		"faults": `{volume: a, verbs: [mkdir, flush], skip: 1, count: 2, status: nospc}`,
		"delays": `{volume: a, verbs: [list], chance: 0.5, min: 1ms, max: 2ms}`,
	} {
		if err := FindSetting(key).Set(&c, []string{value}); err != nil {
			t.Fatal(err)
		}
		again := Defaults()
		if err := FindSetting(key).Set(&again, FindSetting(key).Get(&c)); err != nil || again.Faults == nil && again.Delays == nil {
			t.Errorf("%s is written %q, which is %v", key, FindSetting(key).Get(&c), err)
		}
	}
	if d := c.Delays[0].Rule; d.Chance != 0.5 || len(d.Ops) != 1 || d.Ops[0] != volume.OpList || d.Min == 0 || d.Max != 2*d.Min {
		t.Errorf("the delay is %+v", d)
	}
	if f := c.Faults[0].Rule; len(f.Ops) != 4 || f.Skip != 1 || f.Count != 2 || f.Status != vfs.NoSpc || f.After {
		t.Errorf("the fault is %+v", f)
	}
	c.Faults[0].Rule.Skip, c.Faults[0].Rule.Ops = 0, []volume.Op{volume.OpMkdir}
	var log bytes.Buffer
	s, err := Open(t.Context(), c, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	root, err := s.FS().Root(t.Context(), vfs.Superuser)
	if err != nil {
		t.Fatal(err)
	}
	var failed int
	for range 4 {
		_, _, err := s.FS().Make(t.Context(), vfs.Superuser, root.Node, vfs.MustName("d"), &vfs.How{Type: vfs.Directory})
		switch vfs.StatusOf(err) {
		case vfs.NoSpc:
			failed++
		case vfs.OK, vfs.Exist:
		default:
			t.Errorf("MKDIR: %v", err)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if failed == 0 || failed > 2 {
		t.Errorf("%d of 4 failed, want 1 or 2", failed)
	}
	if text := log.String(); strings.Count(text, "FOR TESTS ONLY") != 2 || !strings.Contains(text, "level=WARN") {
		t.Errorf("the log says\n%s", text)
	}
}

// TestTroubleMistakes are refused with what is wrong.
func TestTroubleMistakes(t *testing.T) {
	for value, want := range map[string]string{
		`faults {verbs: [mkdir]}`:                "volume: is not given",
		`faults {volume: a, verbs: [getattr]}`:   `"getattr" is no operation on a volume; want one of look, list`,
		`faults {volume: a, verbs: []}`:          "verbs: is empty",
		`faults {volume: a, chance: 0}`:          "chance: 0 is never",
		`faults {volume: a, chance: 2}`:          "chance: 2 is not between 0 and 1",
		`faults {volume: a, status: broken}`:     `status: "broken" is no status`,
		`faults {volume: a, min: 1s}`:            "min: there is no such option",
		`faults a`:                               "entry 1: ",
		`delays {volume: a}`:                     "max: 0s is not a delay",
		`delays {volume: a, min: 2s, max: 1s}`:   "max: 1s is not a delay, or less than min",
		`delays {volume: a, min: 1s, max: 100h}`: "max: 100h is not between 0s and 2h",
	} {
		key, text, _ := strings.Cut(value, " ")
		var c Config
		err := FindSetting(key).Set(&c, []string{text})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", value, err, want)
		}
	}
	c := shareConfig(t, tempDir(t), "a")
	if err := FindSetting("faults").Set(&c, []string{"{volume: a}", "{volume: b}"}); err != nil {
		t.Fatal(err)
	}
	wantError(t, c.Validate(), `faults: entry 2: there is no volume "b"`)
}
