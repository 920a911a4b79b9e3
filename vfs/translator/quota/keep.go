package quota

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/translator"
)

// kept is the file that keeps counts over a restart. It is a start for the first walk: nothing is lost with it but the
// beginnings of grace times.
type kept struct {
	Format int         `json:"format"` // keptFormat
	Saved  time.Time   `json:"saved"`
	Dirs   []keptTally `json:"directories"`
	Users  []keptTally `json:"users"`
}

const keptFormat = 1

// keptMax is the largest file that is read, in bytes: all that can be written.
const keptMax = 64 << 20

type keptTally struct {
	Path       string     `json:"path,omitempty"`
	UID        uint32     `json:"uid,omitempty"`
	Bytes      int64      `json:"bytes"`
	Files      int64      `json:"files"`
	BytesSince *time.Time `json:"bytesAboveSoftSince,omitempty"`
	FilesSince *time.Time `json:"filesAboveSoftSince,omitempty"`
}

func stateFile(dir, name string) string {
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, name+".json")
}

// load takes what was kept.
func (k *keeper) load() {
	if k.file == "" {
		return
	}
	from, err := readKept(k.file)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			k.book.log.Warn("quotas are counted from the beginning", "err", err)
		}
		return
	}
	b := k.book
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range from.Dirs {
		for _, t := range b.limited {
			if t.path == from.Dirs[i].Path {
				from.Dirs[i].into(t)
			}
		}
	}
	for i := range from.Users {
		if t := b.user(from.Users[i].UID); t != nil {
			from.Users[i].into(t)
		}
	}
}

func readKept(file string) (*kept, error) {
	if st, err := os.Stat(file); err != nil {
		return nil, err
	} else if st.Size() > keptMax {
		return nil, fmt.Errorf("%s has %d bytes; want at most %d", file, st.Size(), keptMax)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var from kept
	if err := json.Unmarshal(data, &from); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if from.Format != keptFormat {
		return nil, fmt.Errorf("%s has format %d; want %d", file, from.Format, keptFormat)
	}
	return &from, nil
}

func (e *keptTally) into(t *tally) {
	t.now, t.known = usage{e.Bytes, e.Files}, true
	for i, at := range []*time.Time{e.BytesSince, e.FilesSince} {
		if at != nil {
			t.since[i] = *at
		}
	}
}

func (t *tally) keep() keptTally {
	e := keptTally{Path: t.path, UID: t.uid, Bytes: t.now.bytes, Files: t.now.files}
	for i, to := range []**time.Time{&e.BytesSince, &e.FilesSince} {
		if !t.since[i].IsZero() {
			at := t.since[i].Round(0)
			*to = &at
		}
	}
	return e
}

// save keeps what is known. It need not be durable.
func (k *keeper) save() {
	if k.file == "" {
		return
	}
	to := kept{Format: keptFormat, Saved: time.Now().Round(0)}
	b := k.book
	b.mu.Lock()
	for _, t := range b.all() {
		switch {
		case !t.known:
		case t.user:
			to.Users = append(to.Users, t.keep())
		default:
			to.Dirs = append(to.Dirs, t.keep())
		}
	}
	b.mu.Unlock()
	if err := to.write(k.file); err != nil {
		b.log.Warn("what quotas have counted is not kept; a restart counts from the beginning", "err", err)
	}
}

func (to *kept) write(file string) error {
	data, err := json.Marshal(to)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(file+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// counts are for /metrics: few, whatever the number of users.
func (k *keeper) counts() []translator.Count {
	b := k.book
	b.mu.Lock()
	defer b.mu.Unlock()
	out := []translator.Count{
		{Name: "refused_total", Help: "Calls refused by a limit.", Value: float64(b.refused)},
		{Name: "uncounted_total", Help: "Changes whose effect is not known until the next walk.", Value: float64(b.missed)},
		{Name: "walking", Help: "1 while all is being counted.", Gauge: true, Value: float64(min(len(b.walks), 1))},
	}
	over := 0
	for _, t := range b.all() {
		if t.since != [2]time.Time{} {
			over++
		}
		if t.user {
			continue
		}
		labels, v := map[string]string{"directory": t.path}, b.value(t)
		out = append(out,
			translator.Count{Name: "bytes", Help: "Bytes stored in a limited directory.", Gauge: true, Labels: labels, Value: float64(v.bytes)},
			translator.Count{Name: "files", Help: "Objects in a limited directory.", Gauge: true, Labels: labels, Value: float64(v.files)})
	}
	return append(out, translator.Count{Name: "over_soft", Help: "Directories and users above a soft limit.", Gauge: true, Value: float64(over)})
}

// linesMax is how many directories and users `sheaf status` shows.
const linesMax = 100

// lines are for `sheaf status`: how the counting goes, then directories, and users that are above a soft limit or were refused
// something.
func (k *keeper) lines() []string {
	b := k.book
	b.mu.Lock()
	defer b.mu.Unlock()
	out := []string{k.walkLine()}
	for _, t := range b.all() {
		if t.user && t.refused == 0 && t.since == [2]time.Time{} {
			continue
		}
		if len(out) > linesMax {
			return append(out, "and more")
		}
		out = append(out, b.line(t))
	}
	return out
}

func (k *keeper) walkLine() string {
	switch w := k.walk; {
	case w != nil && k.objects > 0:
		return fmt.Sprintf("counting: %d objects, %d the last time", w.objects, k.objects)
	case w != nil:
		return fmt.Sprintf("counting for the first time: %d objects", w.objects)
	case k.problem != nil:
		return fmt.Sprintf("counts are lower bounds or old: %v; again at %s", k.problem, k.ended.Add(k.retry).Format(time.TimeOnly))
	default:
		return fmt.Sprintf("%d objects counted %s ago", k.objects, time.Since(k.ended).Round(time.Second))
	}
}

// line is one tally. Needs mu.
func (b *book) line(t *tally) string {
	if !t.user && t.dir.IsZero() {
		return t.path + ": there is no such directory"
	}
	v := b.value(t)
	var s strings.Builder
	fmt.Fprintf(&s, "%s: %s%s, %d files%s", t, bytesText(v.bytes), t.limits.bytes.text(bytesText), v.files, t.limits.files.text(func(n int64) string { return fmt.Sprint(n) }))
	if !t.known {
		s.WriteString(", at least")
	}
	for i, what := range []string{"bytes", "files"} {
		if t.since[i].IsZero() {
			continue
		}
		rest := "grace is over"
		if left := b.grace - time.Since(t.since[i]); left > 0 {
			rest = vfs.FormatDuration(left.Round(time.Second)) + " of grace left"
		}
		fmt.Fprintf(&s, "; over quota in %s, %s", what, rest)
	}
	if t.refused > 0 {
		fmt.Fprintf(&s, "; %d calls refused", t.refused)
	}
	return s.String()
}

func (b bound) text(show func(int64) string) string {
	switch {
	case b.hard > 0 && b.soft > 0:
		return fmt.Sprintf(" of %s (soft %s)", show(b.hard), show(b.soft))
	case b.hard > 0:
		return " of " + show(b.hard)
	case b.soft > 0:
		return " of soft " + show(b.soft)
	}
	return ""
}
