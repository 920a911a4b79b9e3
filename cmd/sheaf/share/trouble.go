package share

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/translator"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/delay"
	"sheaf/vfs/volume/fault"
	"sheaf/vfs/volume/hook"
	"sheaf/vfs/volume/meter"
)

// VolumeFault makes operations on a volume's host fail. It is for tests.
type VolumeFault struct {
	Trouble
	Rule fault.Rule
}

// VolumeDelay makes operations on a volume's host take longer. It is for tests.
type VolumeDelay struct {
	Trouble
	Rule delay.Rule
}

// Trouble is what VolumeFault and VolumeDelay have in common.
type Trouble struct {
	Volume string // the operator's name
	text   string // the entry, as JSON
}

// texts are the entries as their parsers read them.
func texts[T interface{ String() string }](all []T) []string {
	var lines []string
	for _, v := range all {
		lines = append(lines, v.String())
	}
	return lines
}

// String is the entry.
func (t Trouble) String() string { return t.text }

// rareMax is the largest count or skip of a rule.
const rareMax = 1_000_000_000

// longestDelay is the longest that an operation is made to take: longer than any volume-deadline.
const longestDelay = 2 * time.Hour

func parseFault(entry map[string]any) (f VolumeFault, err error) {
	o := translator.ReadOptions(entry)
	f.Trouble, f.Rule.Pick = readTrouble(o, entry)
	f.Rule.After = o.Bool("after", false)
	if f.Rule.Status, err = vfs.ParseStatus(o.Text("status", vfs.IO.Name())); err != nil {
		o.Fail("status", "%v", err)
	}
	o.End()
	return f, o.Err()
}

func parseDelay(entry map[string]any) (d VolumeDelay, _ error) {
	o := translator.ReadOptions(entry)
	d.Trouble, d.Rule.Pick = readTrouble(o, entry)
	d.Rule.Min = o.Duration("min", 0, 0, longestDelay)
	d.Rule.Max = o.Duration("max", d.Rule.Min, 0, longestDelay)
	if d.Rule.Max == 0 || d.Rule.Max < d.Rule.Min {
		o.Fail("max", "%s is not a delay, or less than min", FormatDuration(d.Rule.Max))
	}
	o.End()
	return d, o.Err()
}

// readTrouble reads what both have.
func readTrouble(o *translator.Options, entry map[string]any) (t Trouble, p hook.Pick) {
	t.Volume = o.Need("volume")
	if text, err := json.Marshal(entry); err == nil {
		t.text = string(text)
	} else {
		o.Fail("volume", "%v", err)
	}
	for _, s := range o.Texts("verbs") {
		ops := opsCalled(s)
		if len(ops) == 0 {
			o.Fail("verbs", "%q is no operation on a volume; want one of %s", s, strings.Join(opNames(), ", "))
		}
		p.Ops = append(p.Ops, ops...)
	}
	if o.Has("verbs") && len(p.Ops) == 0 {
		o.Fail("verbs", "is empty; leave it out for all")
	}
	p.Chance = o.Float("chance", 1, 0, 1)
	if p.Chance == 0 {
		o.Fail("chance", "0 is never; leave the entry out")
	}
	p.Skip = int(o.Int("skip", 0, 0, rareMax))
	p.Count = int(o.Int("count", 0, 0, rareMax))
	return t, p
}

// opsCalled are the operations with that name, or of the class with that name.
func opsCalled(s string) (ops []volume.Op) {
	for _, op := range volume.Ops() {
		if class, ok := meter.ClassOf(op); op.String() == s || ok && class.String() == s {
			ops = append(ops, op)
		}
	}
	return ops
}

// opNames are all names that opsCalled knows.
func opNames() (names []string) {
	for _, c := range meter.Classes() {
		names = append(names, c.String())
	}
	for _, op := range volume.Ops() {
		if !slices.Contains(names, op.String()) {
			names = append(names, op.String())
		}
	}
	return names
}

// checkTrouble wants volumes that there are.
func (c *Config) checkTrouble(names map[string]bool) (errs []error) {
	check := func(key string, i int, t Trouble) {
		if !names[t.Volume] {
			errs = append(errs, &ConfigError{Key: key, Entry: i + 1, Problem: fmt.Sprintf("entry %d: there is no volume %q", i+1, t.Volume)})
		}
	}
	for i, f := range c.Faults {
		check("faults", i, f.Trouble)
	}
	for i, d := range c.Delays {
		check("delays", i, d.Trouble)
	}
	return errs
}

// trouble puts around v, which is called name, what the configuration says.
func (c *Config) trouble(name string, v volume.Volume) volume.Volume {
	seed := fnv.New64a()
	seed.Write([]byte(name)) // a run can be made again
	var faults []fault.Rule
	for _, f := range c.Faults {
		if f.Volume == name {
			faults = append(faults, f.Rule)
		}
	}
	if len(faults) > 0 {
		w := fault.New(v, seed.Sum64())
		w.Set(faults...)
		v = w
	}
	var delays []delay.Rule
	for _, d := range c.Delays {
		if d.Volume == name {
			delays = append(delays, d.Rule)
		}
	}
	if len(delays) > 0 {
		w := delay.New(v, seed.Sum64())
		w.Set(delays...)
		v = w
	}
	return v
}

// sayTrouble says loudly that the share is made to misbehave.
func (s *Share) sayTrouble() {
	for _, f := range s.cfg.Faults {
		s.log.Warn("FOR TESTS ONLY: operations on a volume are made to fail; take faults out of the configuration if there is data that matters", "op", "start", "volume", f.Volume, "rule", f.String())
	}
	for _, d := range s.cfg.Delays {
		s.log.Warn("FOR TESTS ONLY: operations on a volume are made to take longer; take delays out of the configuration if somebody works here", "op", "start", "volume", d.Volume, "rule", d.String())
	}
}
