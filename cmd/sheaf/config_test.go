package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sheaf/cmd/sheaf/share"
)

var update = flag.Bool("update", false, "write golden files")

// golden compares got with the file name in testdata, or in another directory.
func golden(t *testing.T, name, got string) {
	t.Helper()
	if filepath.Base(name) == name {
		name = filepath.Join("testdata", name)
	}
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatalf("%v; make it with go test ./cmd/sheaf -update", err)
	}
	if got != string(want) {
		t.Errorf("%s differs; look, and if it is right, go test ./cmd/sheaf -update:\n%s", name, got)
	}
}

// result is what a command line did.
type result struct {
	code     int
	out, err string
}

// sheaf runs a command line in this process.
func sheaf(t *testing.T, args ...string) result {
	t.Helper()
	var out, err bytes.Buffer
	code := run(t.Context(), args, &streams{Out: &out, Err: &err})
	return result{code, out.String(), err.String()}
}

// file writes a configuration file.
func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sheaf.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestReference keeps the reference in contrib equal to the settings.
func TestReference(t *testing.T) {
	got := sheaf(t, "config", "print", "--reference")
	if got.code != exitOK || got.err != "" {
		t.Fatalf("exit code %d, %s", got.code, got.err)
	}
	golden(t, filepath.Join("..", "..", "contrib", "config", "reference.yaml"), got.out)
}

// TestReadme keeps the table of settings in README.md true: every setting is in it, with its
// default and when it changes, and nothing else is.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(text), "| setting |")
	if !found {
		t.Fatal("README.md has no table of settings")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	rows := map[string]string{}
	for line := range strings.Lines(table) {
		keys, rest, _ := strings.Cut(strings.TrimPrefix(line, "| "), " | ")
		keys, _, _ = strings.Cut(keys, " (")
		for key := range strings.SplitSeq(keys, ", ") {
			if key, quoted := strings.CutPrefix(key, "`"); quoted {
				rows[strings.TrimSuffix(key, "`")] = rest
			}
		}
	}
	for _, s := range share.Settings {
		row, found := rows[s.Key]
		if !found {
			t.Errorf("the table lacks %s", s.Key)
			continue
		}
		delete(rows, s.Key)
		if d := s.Default(); len(d) == 1 && s.Key != "state" && !strings.Contains(row, "| `"+d[0]+"` |") {
			t.Errorf("the table has not the default of %s, %s: %s", s.Key, d[0], row)
		}
		if strings.Contains(row, "changes at SIGHUP") != s.Reload {
			t.Errorf("the table is wrong about when %s changes: %s", s.Key, row)
		}
	}
	for key := range rows {
		t.Errorf("the table has %q, which is no setting", key)
	}
}

// TestReferenceIsTheDefaults reads the reference back.
func TestReferenceIsTheDefaults(t *testing.T) {
	path := writeConfig(t, referenceText()+"\n")
	l := newLoader(pflag.NewFlagSet("test", pflag.ContinueOnError), func(*share.Setting) bool { return false })
	l.path = path
	got, origins, err := l.loadUnchecked()
	if err != nil {
		t.Fatal(err)
	}
	want := share.Defaults()
	got.State = want.State // depends on the user
	if changed, _ := want.Differences(&got); len(changed) > 0 {
		t.Errorf("the reference differs from the defaults in %v", changed)
	}
	for _, o := range origins {
		if !strings.HasPrefix(o.from, path) {
			t.Errorf("%s comes from %s: the reference lacks it", o.setting.Key, o.from)
		}
	}
}

// TestHelp keeps the help texts as they were read and found good.
func TestHelp(t *testing.T) {
	t.Setenv("HOME", "/home/user")
	for name, args := range map[string][]string{
		"help.txt":          {"--help"},
		"serve.txt":         {"serve", "--help"},
		"status.txt":        {"status", "--help"},
		"clients.txt":       {"clients", "--help"},
		"where.txt":         {"where", "--help"},
		"volume-list.txt":   {"volume", "list", "--help"},
		"cache-drop.txt":    {"cache", "drop", "--help"},
		"script-check.txt":  {"script", "check", "--help"},
		"volume-add.txt":    {"volume", "add", "--help"},
		"volume-mode.txt":   {"volume", "mode", "--help"},
		"volume-remove.txt": {"volume", "remove", "--help"},
		"check.txt":         {"check", "--help"},
		"config-print.txt":  {"config", "print", "--help"},
	} {
		t.Run(name, func(t *testing.T) {
			got := sheaf(t, args...)
			if got.code != exitOK {
				t.Fatalf("exit code %d, %s", got.code, got.err)
			}
			golden(t, name, got.out)
		})
	}
}

// TestPrecedence has every setting in the file, some in the environment, and
// fewer as flags.
func TestPrecedence(t *testing.T) {
	path := writeConfig(t, "listen: 127.0.0.1:1\ntrust: 2s\nbytes: 1GiB\nvolumes:\n  - a=/srv/a\n  - name: b\n    dir: /srv/b\n    exclusive: true\n")
	t.Setenv("SHEAF_TRUST", "3s")
	t.Setenv("SHEAF_LISTEN", "127.0.0.1:2")
	t.Setenv("SHEAF_EXPORTS", "/ 10.0.0.1(rw); /pub *(ro)")
	got := sheaf(t, "config", "print", "--json", "--config", path, "--listen", "127.0.0.1:3", "--state", "/state")
	if got.code != exitOK {
		t.Fatalf("exit code %d, %s", got.code, got.err)
	}
	var all []printedSetting
	if err := json.Unmarshal([]byte(got.out), &all); err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	for _, s := range all {
		text, err := json.Marshal(s.Value)
		if err != nil {
			t.Fatal(err)
		}
		values[s.Key] = string(text) + " from " + strings.TrimPrefix(s.From, filepath.Dir(path)+"/")
	}
	for key, want := range map[string]string{
		"listen":  `"127.0.0.1:3" from --listen`,
		"trust":   `"3s" from environment SHEAF_TRUST`,
		"bytes":   `"1GiB" from sheaf.yaml:3`,
		"volumes": `["a=/srv/a","b,exclusive=/srv/b"] from sheaf.yaml:4`,
		"exports": `["/ 10.0.0.1(rw)","/pub *(ro)"] from environment SHEAF_EXPORTS`,
		"state":   `"/state" from --state`,
		"engine":  `"native" from default`,
		"hide":    `["lost+found"] from default`,
		"adopt":   `"false" from default`,
	} {
		if values[key] != want {
			t.Errorf("%s is %s, want %s", key, values[key], want)
		}
	}
	if len(all) != len(share.Settings) {
		t.Errorf("%d settings printed of %d", len(all), len(share.Settings))
	}
}

// TestListsAreTakenWhole: a flag's list replaces the file's, and may hold what the
// environment's separators are.
func TestListsAreTakenWhole(t *testing.T) {
	path := writeConfig(t, "volumes: [a=/srv/a, b=/srv/b]\nstate: /state\n")
	got := sheaf(t, "config", "print", "--config", path, "--volume", "c=/srv/with;semi", "--volume", "d=/srv/d")
	if !strings.Contains(got.out, "c=/srv/with;semi") || !strings.Contains(got.out, "d=/srv/d") || strings.Contains(got.out, "/srv/a") {
		t.Errorf("exit code %d, %s%s", got.code, got.out, got.err)
	}
}

// TestEntriesKeepTheirKeys: entries of a list with keys come through as they are, capitals and all, from wherever.
func TestEntriesKeepTheirKeys(t *testing.T) {
	path := writeConfig(t, "volumes: [a=/srv/a]\nstate: /state\ntranslators:\n  - kind: readonly\n    name: Top\n    clients: [10.0.0.0/8, 192.0.2.1]\n  - '{kind: readonly}'\n")
	want := "{kind: \"readonly\", name: \"Top\", clients: [\"10.0.0.0/8\",\"192.0.2.1\"]}"
	for _, args := range [][]string{{"--config", path}, {"--volume", "a=/srv/a", "--translator", want, "--translator", "{kind: readonly}"}} {
		got := sheaf(t, append([]string{"config", "print"}, args...)...)
		if !strings.Contains(got.out, want) || !strings.Contains(got.out, `{kind: "readonly"}`) {
			t.Errorf("exit code %d, %s%s", got.code, got.out, got.err)
		}
	}
}

// TestConfigurationMistakes has each mistake in one place and wants its sentence.
func TestConfigurationMistakes(t *testing.T) {
	const good = "state: /state\nvolumes: [a=/srv/a]\n"
	for _, m := range []struct {
		name string
		file string
		args []string
		want []string
	}{
		{"unknown key", good + "volums: [b=/b]\n", nil, []string{`unknown key "volums"; did you mean "volumes"?`, ":3)"}},
		{"key in capitals", good + "Listen: 127.0.0.1:1\n", nil, []string{`unknown key "Listen"; did you mean "listen"?`}},
		{"nothing like it", good + "zzzzzzzzzzzz: 1\n", nil, []string{`unknown key "zzzzzzzzzzzz"; the keys are state, listen`}},
		{"key twice", good + "listen: 127.0.0.1:1\nlisten: 127.0.0.1:2\n", nil, []string{"already defined"}},
		{"no yaml", "a: [", nil, []string{"sheaf.yaml", "yaml:"}},
		{"no keys", "- a\n- b\n", nil, []string{"want keys and values"}},
		{"a device for a file", "", []string{"--config", "/dev/zero"}, []string{"/dev/zero is larger than 1MiB"}},
		{"a bomb", bomb(), nil, []string{"excessive aliasing"}},
		{"missing file", "", []string{"--config", "/nonexistent/sheaf.yaml"}, []string{"/nonexistent/sheaf.yaml", "--config"}},
		{"no volumes", "state: /state\n", nil, []string{"volumes: none is given; give at least one, --volume NAME=DIR"}},
		{"no state", "state: ''\nvolumes: [a=/srv/a]\n", nil, []string{"state: no directory is given"}},
		{"volume without a name", good, []string{"--volume", "/srv/a"}, []string{`"/srv/a": want NAME=DIR`}},
		{"volume without a directory", good, []string{"--volume", "a="}, []string{`"a=": want NAME=DIR`}},
		{"volume with a bad name", good, []string{"--volume", "a b=/srv/a"}, []string{`the name "a b" holds ' '`}},
		{"volume with a long name", good, []string{"--volume", strings.Repeat("n", 33) + "=/srv/a"}, []string{"has 33 bytes; want 1 to 32"}},
		{"volume twice", good, []string{"--volume", "a=/x", "--volume", "a=/y"}, []string{`two are called "a"`, "(from --volume)"}},
		{"volume with an unknown key", "state: /s\nvolumes:\n  - name: a\n    dri: /srv/a\n", nil, []string{`entry 1: unknown key "dri"; want the text NAME=DIR, or the keys name, dir, exclusive`}},
		{"volume as a key", "state: /s\nvolumes:\n  - a: /srv/a\n", nil, []string{`entry 1: unknown key "a"; want the text NAME=DIR`}},
		{"volume of the wrong type", "state: /s\nvolumes:\n  - name: a\n    dir: 7\n", nil, []string{"dir: 7 is of the wrong type"}},
		{"volumes not a list", "state: /s\nvolumes:\n  a: /srv/a\n", nil, []string{"volumes: want a list of NAME=DIR, each behind a dash"}},
		{"a list where one value is wanted", good + "listen: [a, b]\n", nil, []string{"listen: want one value, not a list"}},
		{"keys where text is wanted", good + "exports:\n  - path: /\n", nil, []string{"exports: entry 1: want the text 'PATH CLIENT(OPTIONS) ...', not keys beneath it"}},
		{"a number in a list", good + "hide: [7]\n", nil, []string{"hide: entry 1: want text, not 7"}},
		{"listen without port", good, []string{"--listen", "localhost"}, []string{`listen: "localhost" is not HOST:PORT (from --listen)`}},
		{"listen with a bad port", good, []string{"--listen", "127.0.0.1:70000"}, []string{`the port "70000" is not a number from 0 to 65535`}},
		{"listen nowhere", good, []string{"--listen", ":0"}, []string{"says neither where nor on which port"}},
		{"listen at a bad host", good, []string{"--listen", "a b:2049"}, []string{`"a b" is no address and no host name`}},
		{"unknown engine", good, []string{"--engine", "ganesha"}, []string{`"ganesha" is not one of native, go-nfs`}},
		{"unknown log level", good, []string{"--log-level", "loud"}, []string{`"loud" is not one of debug, info, warn, error`}},
		{"unknown log format", good, []string{"--log-format", "xml"}, []string{`"xml" is not one of text, json`}},
		{"unknown lookups", good + "lookups: maybe\n", nil, []string{`lookups: "maybe" is not one of off, names, full`, "sheaf.yaml:3"}},
		{"bad duration", good + "trust: soon\n", nil, []string{`trust: "soon" is no duration; write it like 90s`}},
		{"duration without a unit", good + "trust: 5\n", nil, []string{`trust: "5" is no duration`}},
		{"duration out of range", good + "trust: 2h\n", nil, []string{"trust: 2h is not between 1ms and 1h"}},
		{"bad size", good + "bytes: 1GB\n", nil, []string{`bytes: "1GB" is no size in bytes; write it like 4096, 64KiB`}},
		{"negative size", good + "bytes: -1\n", nil, []string{`bytes: "-1" is no size`}},
		{"size out of range", good + "rtmax: 1GiB\n", nil, []string{"rtmax: 1GiB is not between 4KiB and 16MiB"}},
		{"size too small", good + "memory: 1KiB\n", nil, []string{"memory: 1KiB is not between 8MiB and 1024TiB"}},
		{"size that is no multiple", good + "wtmax: 5000\n", nil, []string{"wtmax: 5000 is no multiple of 4KiB"}},
		{"size beyond all bounds", good + "memory: 99999999999TiB\n", nil, []string{"is no size in bytes"}},
		{"bad count", good + "connections: many\n", nil, []string{`connections: "many" is no number`}},
		{"count out of range", good + "calls: 0\n", nil, []string{"calls: 0 is not between 1 and 65536"}},
		{"bad bool", good + "adopt: maybe\n", nil, []string{`adopt: "maybe" is neither true nor false`}},
		{"limits that contradict", good + "bytes: 16MiB\n", nil, []string{"bytes: 16MiB is less than connection-bytes, which is 32MiB", "sheaf.yaml:3"}},
		{"a call that never fits", good + "rtmax: 2MiB\nconnection-bytes: 1MiB\n", nil, []string{"connection-bytes: 1MiB is less than rtmax and wtmax, which is 2MiB"}},
		{"memory limit too low", good + "memory-limit: 64MiB\n", nil, []string{"memory-limit: 64MiB is less than memory, bytes and reply-cache need together"}},
		{"bad pattern", good + "hide: ['[']\n", nil, []string{`hide: "[" is no pattern for a name`}},
		{"pattern with a slash", good + "hide: ['a/b']\n", nil, []string{`hide: "a/b" is no pattern for a name`}},
		{"bad export", good, []string{"--export", "/ 10.0.0.1(frobnicate)"}, []string{"exports: ", "frobnicate", "(from --export)"}},
		{"export without a path", good + "exports: ['10.0.0.1(rw)']\n", nil, []string{"exports: ", "sheaf.yaml:3"}},
		{"unknown kind", good + "translators:\n  - kind: readonly\n  - kind: rot13\n    x: 1\n", nil, []string{`translators: entry 2 (rot13): there is no kind "rot13"; the kinds are `, "sheaf.yaml:5)"}},
		{"unknown option", good + "translators:\n\n  - {kind: readonly, client: '*'}\n", nil, []string{`entry 1 (readonly): client: there is no such option; the options are clients`, "sheaf.yaml:5)"}},
		{"bad option", good, []string{"--translator", "{kind: readonly, clients: [all]}"}, []string{`entry 1 (readonly): clients: "all" is no address and no network`, "(from --translator)"}},
		{"translator without a kind", good + "translators: [{clients: []}]\n", nil, []string{"translators: entry 1: want a kind", "sheaf.yaml:3"}},
		{"translator as a word", good + "translators: [readonly]\n", nil, []string{`translators: entry 1: "readonly": `}},
		{"translator with keys that are none", good + "translators: [{kind: readonly, clients: {1: 2}}]\n", nil, []string{"line 3: ", "keys that are not texts"}},
		{"translators not a list", good + "translators: {kind: readonly}\n", nil, []string{"translators: want a list of '{kind: KIND, ...}'"}},
		{"unknown flag", good, []string{"--volumes", "a=/x"}, []string{"unknown flag: --volumes; see sheaf config print --help"}},
		{"too many arguments", good, []string{"extra"}, []string{`sheaf config print takes no argument, and got "extra"; see sheaf config print --help`}},
	} {
		t.Run(m.name, func(t *testing.T) {
			args := []string{"config", "print"}
			if m.file != "" {
				args = append(args, "--config", writeConfig(t, m.file))
			}
			got := sheaf(t, append(args, m.args...)...)
			if got.code != exitUsage {
				t.Errorf("exit code %d, want %d", got.code, exitUsage)
			}
			if got.out != "" {
				t.Errorf("something was printed: %s", got.out)
			}
			for _, w := range m.want {
				if !strings.Contains(got.err, w) {
					t.Errorf("the message is %q, want %q in it", got.err, w)
				}
			}
		})
	}
}

// bomb is a small file that means a very large one.
func bomb() string {
	var b strings.Builder
	b.WriteString("state: /s\na0: &a0 [x,x,x,x,x,x,x,x,x]\n")
	for i := range 12 {
		one := fmt.Sprintf("*a%d,", i)
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(one, 9), ","))
	}
	return b.String()
}

// TestMistakesAreToldTogether: who has made three mistakes learns of three.
func TestMistakesAreToldTogether(t *testing.T) {
	path := writeConfig(t, "volums: []\ntrust: soon\nbytes: lots\n")
	got := sheaf(t, "config", "print", "--config", path)
	for _, want := range []string{"volums", "soon", "lots"} {
		if !strings.Contains(got.err, want) {
			t.Errorf("the message lacks %q: %s", want, got.err)
		}
	}
	if n := strings.Count(got.err, "\n"); n != 3 {
		t.Errorf("%d lines, want one for each mistake:\n%s", n, got.err)
	}
}

func TestSizesAndDurations(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "4096": 4096, "64KiB": 65536, "1 MiB": 1 << 20, "3GiB": 3 << 30, "2TiB": 2 << 40} {
		got, err := share.ParseBytes(text)
		if err != nil || got != want {
			t.Errorf("%q is %d, %v; want %d", text, got, err, want)
		}
		if back, err := share.ParseBytes(share.FormatBytes(got)); err != nil || back != got {
			t.Errorf("%d is written %q, which is %d, %v", got, share.FormatBytes(got), back, err)
		}
	}
	for _, text := range []string{"", "KiB", "1KB", "1.5MiB", "+1", "0x10", "9223372036854775808", "9007199254740992KiB"} {
		if n, err := share.ParseBytes(text); err == nil {
			t.Errorf("%q is taken for %d", text, n)
		}
	}
}

// FuzzConfig reads files of any bytes: mistakes are errors, never panics, and what is
// taken means the same when it is read again from what is printed.
func FuzzConfig(f *testing.F) {
	f.Add("state: /s\nvolumes: [a=/a]\n")
	f.Add(referenceText())
	f.Add("volumes:\n- {name: a, dir: /a, exclusive: true}\nexports: ['/ *(rw)']\n")
	f.Add("a: &a [*a]")
	f.Fuzz(func(t *testing.T, text string) {
		l := newLoader(pflag.NewFlagSet("test", pflag.ContinueOnError), func(*share.Setting) bool { return false })
		l.path = writeConfig(t, text)
		c, _, err := l.load()
		if err != nil {
			return
		}
		again := share.Defaults()
		for _, s := range share.Settings {
			if err := s.Set(&again, s.Get(&c)); err != nil {
				t.Fatalf("%s: %q is printed and not read: %v", s.Key, s.Get(&c), err)
			}
		}
		if changed, _ := c.Differences(&again); len(changed) > 0 {
			t.Fatalf("%v change when they are read again", changed)
		}
	})
}

// TestExamples reads every example configuration and finds it good, exports too.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "contrib", "config", "*.yaml"))
	if err != nil || len(files) < 4 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			args := []string{"config", "print", "--config", file}
			if filepath.Base(file) == "reference.yaml" { // it has no volumes
				args = append(args, "--volume", "a=/srv/a")
			}
			if got := sheaf(t, args...); got.code != exitOK {
				t.Errorf("%+v", got)
			}
		})
	}
}

// TestUnitNamesWhatThereIs keeps the systemd unit's command line true.
func TestUnitNamesWhatThereIs(t *testing.T) {
	unit, err := os.ReadFile(filepath.Join("..", "..", "contrib", "systemd", "sheaf.service"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(unit)) {
		command, ok := strings.CutPrefix(strings.TrimSpace(line), "ExecStart=/usr/local/bin/sheaf ")
		if !ok {
			continue
		}
		args := strings.Fields(command)
		for i, a := range args {
			if a == "/etc/sheaf/sheaf.yaml" {
				args[i] = filepath.Join("..", "..", "contrib", "config", "sheaf.yaml")
			}
		}
		args = append([]string{"config", "print"}, args[1:]...)
		if got := sheaf(t, args...); got.code != exitOK {
			t.Errorf("%v: %+v", args, got)
		}
		return
	}
	t.Error("the unit does not start sheaf")
}

// TestVersion: what a bug report is to say.
func TestVersion(t *testing.T) {
	if got := sheaf(t, "version"); got.code != exitOK || !strings.HasPrefix(got.out, "sheaf ") || !strings.Contains(got.out, runtime.GOOS+"/"+runtime.GOARCH) {
		t.Errorf("%+v", got)
	}
	var v struct {
		Version, Go, OS, Arch string
		API                   int
	}
	got := sheaf(t, "version", "--json")
	if err := json.Unmarshal([]byte(got.out), &v); err != nil || v.Version == "" || v.Go != runtime.Version() || v.OS != runtime.GOOS || v.API != share.APIVersion {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestReadersPrintJSON: --json is there on whatever reads.
func TestReadersPrintJSON(t *testing.T) {
	var all []string
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			walk(sub)
		}
		if c.HasSubCommands() || !c.IsAvailableCommand() {
			return
		}
		if c.Flags().Lookup("json") != nil {
			all = append(all, c.CommandPath())
		} else if c.Name() != "serve" && c.Name() != "help" {
			t.Errorf("%s has no --json", c.CommandPath())
		}
		if c.Name() != "version" && !strings.Contains(c.Long, exitHelp) {
			t.Errorf("%s --help does not say its exit codes", c.CommandPath())
		}
	}
	walk(newRoot(&streams{}))
	if len(all) < 5 {
		t.Errorf("only %q read", all)
	}
}
