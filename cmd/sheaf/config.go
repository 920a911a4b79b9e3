package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"
	"go.yaml.in/yaml/v3"

	"sheaf/cmd/sheaf/share"
)

// configEnv names the configuration file where --config does not.
const configEnv = "SHEAF_CONFIG"

// A loader makes one typed, validated share.Config of flags over environment over
// file over defaults. A list is taken whole from the highest of them that has
// it: --volume replaces the volumes of the file, it does not add to them.
type loader struct {
	flags *pflag.FlagSet
	path  string // of the file, from --config
}

// newLoader adds the flags of the settings for which want is true, and --config.
func newLoader(flags *pflag.FlagSet, want func(*share.Setting) bool) *loader {
	l := &loader{flags: flags}
	flags.StringVar(&l.path, "config", "", "read settings from this YAML `FILE` ("+configEnv+")")
	for _, s := range share.Settings {
		if !want(s) {
			continue
		}
		f := flags.VarPF(&flagValue{setting: s}, s.Flag, "", usage(s))
		if s.Kind == share.KindBool {
			f.NoOptDefVal = "true"
		}
	}
	return l
}

// usage is a setting's line of help: its first sentence, for the rest is in the
// reference.
func usage(s *share.Setting) string {
	first, _, _ := strings.Cut(s.Help, ". ")
	text := strings.TrimSuffix(first, ".")
	if len(s.Choices) > 0 {
		text += ": " + strings.Join(s.Choices, ", ")
	}
	if d := s.Default(); s.Key != "state" && len(d) == 1 && s.Kind != share.KindBool {
		text += " (default " + d[0] + ")"
	}
	if s.Kind == share.KindList {
		text += "; repeatable"
	}
	return text
}

// flagValue is a setting's flag: it only collects text, which share.Setting reads.
type flagValue struct {
	setting *share.Setting
	values  []string
}

func (f *flagValue) Set(s string) error {
	if f.setting.Kind != share.KindList {
		f.values = f.values[:0]
	}
	f.values = append(f.values, s)
	var c share.Config
	return f.setting.Set(&c, f.values)
}

// String gives the values of a list each with a NUL behind it, which no argument
// can hold, for split.
func (f *flagValue) String() string {
	if f.setting == nil || f.setting.Kind != share.KindList {
		return strings.Join(f.values, "")
	}
	var b strings.Builder
	for _, v := range f.values {
		b.WriteString(v + "\x00")
	}
	return b.String()
}

// Type is what help texts call the value.
func (f *flagValue) Type() string {
	if f.setting != nil && f.setting.Kind == share.KindBool {
		return "bool"
	}
	if f.setting == nil || f.setting.Value == "" {
		return string(cmp.Or(f.setting.Kind, share.KindText))
	}
	return f.setting.Value
}

// An origin says where a setting's value came from.
type origin struct {
	setting *share.Setting
	from    string
	entries []string // where each entry of a list came from, if it has places of its own
}

// load reads everything again, and checks it. The error joins every mistake found.
func (l *loader) load() (share.Config, []origin, error) {
	c, origins, err := l.loadUnchecked()
	if err != nil {
		return share.Config{}, nil, err
	}
	if err := withSources(c.Validate(), origins); err != nil {
		return share.Config{}, nil, err
	}
	return c, origins, nil
}

// loadUnchecked is load for a command that can do without most of it.
func (l *loader) loadUnchecked() (share.Config, []origin, error) {
	v := viper.New()
	v.AllowEmptyEnv(true)
	file, err := l.readFile(v)
	if err != nil {
		return share.Config{}, nil, err
	}
	var errs []error
	errs = append(errs, file.mistakes...)
	c := share.Defaults()
	origins := make([]origin, 0, len(share.Settings))
	for _, s := range share.Settings {
		o, err := l.bind(v, s, file)
		if err != nil {
			return share.Config{}, nil, err
		}
		if err := set(v, s, &c); err != nil {
			errs = append(errs, &share.ConfigError{Key: s.Key, Problem: err.Error(), Source: o.from})
		}
		origins = append(origins, o)
	}
	if err := errors.Join(errs...); err != nil {
		return share.Config{}, nil, err
	}
	return c, origins, nil
}

// bind tells viper where s may come from, and says from which it does.
func (l *loader) bind(v *viper.Viper, s *share.Setting, file *file) (origin, error) {
	v.SetDefault(s.Key, s.Default())
	o := origin{setting: s, from: "default"}
	if line, ok := file.lines[s.Key]; ok {
		o.from = fmt.Sprintf("%s:%d", file.path, line)
		o.entries = file.entries[s.Key]
	}
	if err := v.BindEnv(s.Key, s.Env()); err != nil {
		return o, fmt.Errorf("bind %s: %w", s.Env(), err)
	}
	if _, ok := os.LookupEnv(s.Env()); ok {
		o = origin{setting: s, from: "environment " + s.Env()}
	}
	if f := l.flags.Lookup(s.Flag); f != nil && f.Changed {
		o = origin{setting: s, from: "--" + s.Flag}
		if err := v.BindPFlag(s.Key, f); err != nil {
			return o, fmt.Errorf("bind --%s: %w", s.Flag, err)
		}
	}
	return o, nil
}

// set gives c the value that viper has of s, if it has one.
func set(v *viper.Viper, s *share.Setting, c *share.Config) error {
	switch value := v.Get(s.Key).(type) {
	case nil: // a key without a value
		return s.Set(c, s.Default())
	case []string:
		return s.Set(c, value)
	case []any:
		return setList(s, value, c)
	case string:
		if s.Kind == share.KindList {
			return s.Set(c, split(value))
		}
		return s.Set(c, []string{value})
	case map[string]any:
		if s.Kind == share.KindList {
			return fmt.Errorf("want a list of %s, each behind a dash, not keys beneath it", s.Value)
		}
		return errors.New("want a value, not keys beneath it")
	default:
		if s.Kind == share.KindList {
			return errors.New("want a list")
		}
		return s.Set(c, []string{fmt.Sprint(value)})
	}
}

// split takes a list apart that is one text: of a flag, or of the environment,
// where an entry is a line or stands between semicolons.
func split(s string) []string {
	if flag, ok := strings.CutSuffix(s, "\x00"); ok {
		return strings.Split(flag, "\x00")
	}
	var all []string
	for _, e := range strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == ';' }) {
		if e = strings.TrimSpace(e); e != "" {
			all = append(all, e)
		}
	}
	return all
}

// setList gives c a list from the file.
func setList(s *share.Setting, list []any, c *share.Config) error {
	if s.Kind != share.KindList {
		return errors.New("want one value, not a list")
	}
	texts := make([]string, 0, len(list))
	for i, e := range list {
		switch e := e.(type) {
		case string:
			texts = append(texts, e)
		case map[string]any:
			text, err := volumeText(s, e)
			if err != nil {
				return fmt.Errorf("entry %d: %w", i+1, err)
			}
			texts = append(texts, text)
		default:
			return fmt.Errorf("entry %d: want text, not %v", i+1, e)
		}
	}
	return s.Set(c, texts)
}

// volumeKeys are the keys of an entry of volumes.
var volumeKeys = []string{"name", "dir", "exclusive"}

// volumeText is an entry of volumes with keys as the text that means the same.
func volumeText(s *share.Setting, entry map[string]any) (string, error) {
	if s.Key != "volumes" {
		return "", fmt.Errorf("want the text %s, not keys beneath it", s.Value)
	}
	v := share.Volume{}
	for k, value := range entry {
		var ok bool
		switch k {
		case "name":
			v.Name, ok = value.(string)
		case "dir":
			v.Dir, ok = value.(string)
		case "exclusive":
			v.Exclusive, ok = value.(bool)
		default:
			return "", fmt.Errorf("unknown key %q; want the text %s, or the keys %s", k, s.Value, strings.Join(volumeKeys, ", "))
		}
		if !ok {
			return "", fmt.Errorf("%s: %v is of the wrong type", k, value)
		}
	}
	if err := share.CheckVolumeName(v.Name); err != nil {
		return "", err
	}
	return v.String(), nil
}

// file is what was found in the configuration file, beside its values.
type file struct {
	path     string
	lines    map[string]int      // of each key
	entries  map[string][]string // where each entry of a list with keys is
	texts    map[string]any      // such lists, as texts
	mistakes []error             // unknown and repeated keys
}

// readFile reads the file, if there is one, into v.
func (l *loader) readFile(v *viper.Viper) (*file, error) {
	f := &file{path: cmp.Or(l.path, os.Getenv(configEnv)), lines: map[string]int{}, entries: map[string][]string{}, texts: map[string]any{}}
	if f.path == "" {
		return f, nil
	}
	data, err := readBounded(f.path)
	if err != nil {
		return nil, &share.ConfigError{Problem: err.Error(), Do: "check --config"}
	}
	if err := f.check(data); err != nil {
		return nil, &share.ConfigError{Problem: fmt.Sprintf("%s: %v", f.path, err)}
	}
	v.SetConfigType("yaml")
	if err := v.ReadConfig(bytes.NewReader(data)); err != nil {
		return nil, &share.ConfigError{Problem: fmt.Sprintf("%s: %v", f.path, err)}
	}
	if err := v.MergeConfigMap(f.texts); err != nil {
		return nil, &share.ConfigError{Problem: fmt.Sprintf("%s: %v", f.path, err)}
	}
	return f, nil
}

// takeEntries reads a list whose entries have keys itself: viper would make the keys lower case, which may be
// paths, and forget their lines.
func (f *file) takeEntries(key string, list *yaml.Node) error {
	texts := make([]any, 0, len(list.Content))
	for _, e := range list.Content {
		text := e.Value
		if e.Kind != yaml.ScalarNode {
			var entry any
			if err := e.Decode(&entry); err != nil {
				return err
			}
			encoded, err := json.Marshal(entry)
			if err != nil {
				return fmt.Errorf("line %d: keys that are not texts, or a value that JSON has not: %w", e.Line, err)
			}
			text = string(encoded)
		}
		texts = append(texts, text)
		f.entries[key] = append(f.entries[key], fmt.Sprintf("%s:%d", f.path, e.Line))
	}
	f.texts[key] = texts
	return nil
}

// fileMax is the largest configuration file, in bytes: some 10,000 exports.
const fileMax = 1 << 20

// readBounded reads a file that is to be small, and may be a device or a log by mistake.
func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, fileMax+1))
	if err == nil && len(data) > fileMax {
		err = fmt.Errorf("%s is larger than %s", path, share.FormatBytes(fileMax))
	}
	return data, err
}

// check looks at the keys themselves, which viper would take whatever they are.
func (f *file) check(data []byte) error {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return err
	}
	if len(doc.Content) == 0 {
		return nil // an empty file
	}
	top := doc.Content[0]
	if top.Kind != yaml.MappingNode {
		return errors.New("want keys and values")
	}
	known := make([]string, 0, len(share.Settings))
	for _, s := range share.Settings {
		known = append(known, s.Key)
	}
	for i := 0; i+1 < len(top.Content); i += 2 {
		key := top.Content[i]
		source := fmt.Sprintf("%s:%d", f.path, key.Line)
		if !slices.Contains(known, key.Value) {
			f.mistakes = append(f.mistakes, &share.ConfigError{Problem: unknown(key.Value, known).Error(), Source: source})
			continue
		}
		f.lines[key.Value] = key.Line
		if s := share.FindSetting(key.Value); s.Entries && top.Content[i+1].Kind == yaml.SequenceNode {
			if err := f.takeEntries(key.Value, top.Content[i+1]); err != nil {
				return err
			}
		}
	}
	return nil
}

// unknown is the error for a key that there is not, with the nearest there is.
func unknown(key string, known []string) error {
	best, distance := "", len(key)/2+2
	for _, k := range known {
		if d := editDistance(strings.ToLower(key), k); d < distance {
			best, distance = k, d
		}
	}
	if best == "" {
		return fmt.Errorf("unknown key %q; the keys are %s", key, strings.Join(known, ", "))
	}
	return fmt.Errorf("unknown key %q; did you mean %q?", key, best)
}

// editDistance is the number of letters to insert, remove or replace to make b of a.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next := min(diagonal+cost, row[j]+1, row[j+1]+1)
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}

// withSources adds to each mistake where the value came from.
func withSources(err error, origins []origin) error {
	all := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		all = joined.Unwrap()
	}
	for _, e := range all {
		var mistake *share.ConfigError
		if !errors.As(e, &mistake) {
			continue
		}
		for _, o := range origins {
			if o.setting.Key != mistake.Key {
				continue
			}
			mistake.Source = o.from
			if i := mistake.Entry - 1; i >= 0 && i < len(o.entries) {
				mistake.Source = o.entries[i]
			}
		}
	}
	return err
}
