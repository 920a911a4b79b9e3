package share

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"sheaf/vfs/translator"
	"sheaf/vfs/translator/kinds"
	"sheaf/vfs/translator/metrics"
	"sheaf/vfs/translator/quota"
)

// quotaDir, in the state directory, is where quotas keep what they have counted.
const quotaDir = "quota"

// kindsFor are the kinds of layers, of which metrics counts for r, and quota keeps its counts in the directory quotas.
func kindsFor(r *metrics.Recorder, quotas string) []translator.Kind {
	return kinds.All(r.Kind(), quota.NewKind(quotas))
}

// anyKinds are the kinds of layers, to look at them.
func anyKinds() []translator.Kind {
	return kindsFor(metrics.NewRecorder(func(uint64) string { return "" }), "")
}

// measures reports whether operations of volumes are to be timed: it costs each some tenths of a microsecond.
func (c *Config) measures() bool {
	return c.MetricsListen != "" || slices.ContainsFunc(c.Translators, func(s translator.Spec) bool { return s.Kind == "metrics" })
}

// kindHelp is what each kind of layer does, for the reference.
func kindHelp() string {
	var all []string
	for _, k := range anyKinds() {
		all = append(all, k.Name+": "+k.Help)
	}
	return strings.Join(all, " ")
}

// setSpecs reads entries of translators, each a text in YAML or JSON.
func setSpecs(p *[]translator.Spec, values []string) error {
	return setEntries(p, values, translator.ParseSpec)
}

// setEntries reads a list whose entries have keys, each a text in YAML or JSON.
func setEntries[T any](p *[]T, values []string, parse func(map[string]any) (T, error)) error {
	all := make([]T, 0, len(values))
	var errs []error
	for i, text := range values {
		entry, err := parseEntry(text)
		if err == nil {
			var v T
			if v, err = parse(entry); err == nil {
				all = append(all, v)
			}
		}
		if err != nil {
			errs = append(errs, &entryError{i, err})
		}
	}
	*p = all
	return errors.Join(errs...)
}

// parseEntry reads an entry of a list that has keys.
func parseEntry(text string) (map[string]any, error) {
	var entry map[string]any
	if err := yaml.Unmarshal([]byte(text), &entry); err != nil {
		return nil, fmt.Errorf("%q: %w", text, err)
	}
	if entry == nil {
		return nil, fmt.Errorf("%q: want keys and values, such as {kind: readonly}", text)
	}
	return entry, nil
}

// entryError is a mistake in one entry of a list.
type entryError struct {
	entry int // from 0
	err   error
}

func (e *entryError) Error() string { return fmt.Sprintf("entry %d: %v", e.entry+1, e.err) }

func (e *entryError) Unwrap() error { return e.err }

// checkTranslators finds mistakes in the layers.
func (c *Config) checkTranslators() []error {
	err := translator.Check(anyKinds(), c.Translators)
	if err == nil {
		return nil
	}
	all := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		all = joined.Unwrap()
	}
	var errs []error
	for _, err := range all {
		errs = append(errs, translatorMistake(err))
	}
	return errs
}

// translatorMistake is err as a mistake in the configuration.
func translatorMistake(err error) error {
	e := &ConfigError{Key: "translators", Problem: err.Error()}
	if at, ok := errors.AsType[*translator.SpecError](err); ok {
		e.Entry = at.Entry + 1
	}
	return e
}
