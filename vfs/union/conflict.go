package union

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/dchest/siphash"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// conflictInfix stands between the name and the volume of a conflict's loser.
const conflictInfix = ".conflict-"

// aliasName is the name in the share of what volume v calls name while another
// volume's object has that name. One that would be too long is cut and gets a hash, so
// that two long names stay two.
func (u *Union) aliasName(name vfs.Name, v int) vfs.Name {
	suffix := conflictInfix + strings.Map(plain, u.vol(v).name)
	s := name.String()
	if len(s)+len(suffix) > vfs.NameMax {
		h := fmt.Sprintf("~%016x", siphash.Hash(u.cookieKey.k0, u.cookieKey.k1, []byte(s)))
		suffix = suffix[:min(len(suffix), vfs.NameMax-len(h)-1)]
		s = s[:vfs.NameMax-len(h)-len(suffix)] + h
	}
	return vfs.MustName(s + suffix)
}

// plain makes a rune of a volume's name fit for a file name.
func plain(r rune) rune {
	if r == '/' || r == 0 {
		return '_'
	}
	return r
}

// uniqueNames renames aliases that a real name, or another alias, has already.
func (u *Union) uniqueNames(all []*entry) []*entry {
	taken := make(map[vfs.Name]bool)
	var aliases []*entry
	for _, e := range all {
		if e.name == e.phys {
			taken[e.name] = true
		} else {
			aliases = append(aliases, e)
		}
	}
	sort.Slice(aliases, func(i, j int) bool {
		a, b := aliases[i], aliases[j]
		if a.name != b.name {
			return a.name.String() < b.name.String()
		}
		return a.phys.String() < b.phys.String()
	})
	for _, e := range aliases {
		base := e.name.String()
		for i := 2; taken[e.name]; i++ {
			suffix := fmt.Sprintf("~%d", i)
			e.name = vfs.MustName(base[:min(len(base), vfs.NameMax-len(suffix))] + suffix)
			e.cookie = 0
		}
		taken[e.name] = true
	}
	return all
}

// arrange makes entries of what the copies of d list as name: one, unless objects that are not
// all directories meet there.
func (u *Union) arrange(ctx context.Context, d *node, name vfs.Name, seen []seenEntry, away volset) ([]*entry, error) {
	if len(seen) == 1 {
		s := seen[0]
		return []*entry{{name: name, phys: name, vols: volset(0).with(s.vol), ino: s.e.Ino, typ: s.e.Type}}, nil
	}
	var vols volset
	dirs := true
	for _, s := range seen {
		vols = vols.with(s.vol)
		dirs = dirs && s.e.Type == vfs.Directory
	}
	if dirs {
		return []*entry{{name: name, phys: name, vols: vols, ino: seen[0].e.Ino, typ: vfs.Directory}}, nil
	}
	hs, err := u.dirsAt(ctx, d, vols&^away)
	if err != nil {
		return nil, err
	}
	defer hs.release()
	sights, err := u.lookAll(ctx, hs, name)
	if err != nil {
		return nil, err
	}
	for _, s := range seen { // what is away counts as what it was
		if away.has(s.vol) {
			sights = append(sights, sighting{vol: s.vol, st: volume.Stat{Type: s.e.Type, Key: volume.Key{Ino: s.e.Ino}}})
		}
	}
	if len(sights) == 0 {
		return nil, nil
	}
	slices.SortFunc(sights, func(a, b sighting) int { return a.vol - b.vol })
	mine, others, err := u.split(ctx, d, name, sights)
	if err != nil {
		return nil, err
	}
	es := []*entry{groupEntry(name, name, mine)}
	for _, o := range others {
		es = append(es, groupEntry(u.aliasName(name, o[0].vol), name, o))
	}
	return es, nil
}

func groupEntry(name, phys vfs.Name, group []sighting) *entry {
	e := &entry{name: name, phys: phys, ino: group[0].st.Key.Ino, typ: group[0].st.Type}
	for i := range group {
		e.vols = e.vols.with(group[i].vol)
	}
	return e
}

// split tells which of the objects that are called name in d has the name, and groups the
// others: directories are one, all else stands alone. A conflict that is seen for the
// first time is pinned.
func (u *Union) split(ctx context.Context, d *node, name vfs.Name, seen []sighting) (mine []sighting, others [][]sighting, err error) {
	if len(seen) == 1 || allDirs(seen) {
		return seen, nil, nil
	}
	holder := u.holder(d, name, seen)
	var dirs []sighting
	for _, s := range seen {
		switch {
		case s.isDir():
			dirs = append(dirs, s)
		case s.vol == holder:
			mine = []sighting{s}
		default:
			others = append(others, []sighting{s})
		}
	}
	if len(dirs) > 0 && mine == nil {
		mine = dirs
	} else if len(dirs) > 0 {
		others = append(others, dirs)
	}
	return mine, others, u.pins.set(ctx, u, d.id, name, holder, seen)
}

// holder is the volume whose object has the name: the pinned one, else the one that had
// it while it was alone, else the first.
func (u *Union) holder(d *node, name vfs.Name, seen []sighting) int {
	if id, ok := u.pins.get(d.id, name); ok {
		for i := range seen {
			if u.vol(seen[i].vol).id == id {
				return seen[i].vol
			}
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.names != nil {
		if e := d.names.byName[name]; e != nil && e.phys == name {
			for i := range seen {
				if e.vols.has(seen[i].vol) {
					return seen[i].vol
				}
			}
		}
	}
	return seen[0].vol
}

// physOf is what the volumes call the object that the place at tells of now.
func (u *Union) physOf(d *node, at place) vfs.Name {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.names != nil {
		if e := d.names.byName[at.name]; e != nil {
			return e.phys
		}
	}
	return at.phys
}

// endConflict forgets who has a name when its last loser, which was at at, has gone from there. The caller holds the
// exclusive lease on d.
func (u *Union) endConflict(ctx context.Context, d *node, at place) {
	if at.name == at.phys || u.doubtful(d) != 0 {
		return
	}
	d.mu.Lock()
	over := d.names != nil
	if over {
		for _, e := range d.names.byName {
			over = over && (e.phys != at.phys || e.name == e.phys)
		}
	}
	d.mu.Unlock()
	if over {
		u.pins.drop(ctx, u, d.id, at.phys)
	}
}

// askLoser asks for a conflict's loser by the name under which the share shows it, when d cannot be listed because
// a volume is away: a pin tells that it is one. No node and no error: it cannot be told. A directory may be a part of
// what has the name. The caller holds a lease on d.
func (u *Union) askLoser(ctx context.Context, d *node, name vfs.Name) (*node, error) {
	i := strings.LastIndex(name.String(), conflictInfix)
	if i <= 0 {
		return nil, nil
	}
	phys, err := vfs.ParseName(name.String()[:i])
	if err != nil {
		return nil, nil // nothing can be called so
	}
	holder, pinned := u.pins.get(d.id, phys)
	if !pinned {
		return nil, nil
	}
	hs, err := u.dirsAt(ctx, d, u.online())
	if err != nil {
		return nil, err
	}
	defer hs.release()
	asked := u.now()
	for _, v := range hs.set().list() {
		if u.vol(v).id == holder || u.aliasName(phys, v) != name {
			continue
		}
		s, err := u.look(ctx, hs[v], phys)
		if vfs.StatusOf(err) == vfs.NoEnt || err == nil && s.isDir() {
			continue
		}
		if err != nil {
			return nil, err
		}
		at, seen := place{d.node(), name, phys}, []sighting{s}
		n, err := u.settle(ctx, at, seen, hs.set(), asked)
		if err == nil {
			u.notePresent(ctx, d, at, seen, n, asked, u.away())
		}
		return n, err
	}
	return nil, nil
}

// pins remember who has a name that several volumes' objects want, over restarts and
// another order of volumes. Each is a file in PrivateName/conflicts of the volumes concerned.
type pins struct {
	mu sync.Mutex
	m  map[pinKey]volume.ID
}

type pinKey struct {
	dir  vfs.NodeID
	name vfs.Name
}

// pinFile is a pin as it is written: one JSON object.
type pinFile struct {
	Dir    string `json:"dir"`    // NodeID of the directory
	Name   []byte `json:"name"`   // base64: it need not be UTF-8
	Holder string `json:"holder"` // volume whose object has the name
}

var conflictsName = vfs.MustName("conflicts")

// fileName is the name of a pin's file.
func (k pinKey) fileName() vfs.Name {
	hi, lo := siphash.Hash128(0, 0, append(k.dir[:], k.name.String()...))
	return vfs.MustName(fmt.Sprintf("%016x%016x.json", hi, lo))
}

func (p *pins) get(dir vfs.NodeID, name vfs.Name) (volume.ID, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	id, ok := p.m[pinKey{dir, name}]
	return id, ok
}

// set pins name to holder, on all volumes that have it. A pin that cannot be written is said to
// the operator: the conflict is served all the same.
func (p *pins) set(ctx context.Context, u *Union, dir vfs.NodeID, name vfs.Name, holder int, seen []sighting) error {
	k := pinKey{dir, name}
	id := u.vol(holder).id
	p.mu.Lock()
	same := p.m[k] == id
	p.m[k] = id
	p.mu.Unlock()
	if same {
		return nil
	}
	u.log.Warn("objects of several volumes have one name; all but one are shown under another", "op", "conflict", "node", dir, "name", name.String(), "holder", u.vol(holder).name)
	for i := range seen {
		v := u.vol(seen[i].vol)
		if !u.online().has(v.i) || v.getMode() == volume.ReadOnly { // the other has it
			continue
		}
		if err := p.write(ctx, v, k, id); err != nil {
			u.log.Warn("conflict cannot be pinned; another order of volumes would give the name away", "op", "conflict", "volume", v.name, "name", name.String(), "err", err)
		}
	}
	return nil
}

// write pins k to holder on volume v.
func (p *pins) write(ctx context.Context, v *vol, k pinKey, holder volume.ID) error {
	b, err := json.Marshal(pinFile{Dir: k.dir.String(), Name: []byte(k.name.String()), Holder: holder.String()})
	if err != nil {
		return err
	}
	return v.writePrivate(ctx, conflictsName, k.fileName(), b)
}

// drop forgets a pin: the conflict has ended.
func (p *pins) drop(ctx context.Context, u *Union, dir vfs.NodeID, name vfs.Name) {
	k := pinKey{dir, name}
	p.mu.Lock()
	_, ok := p.m[k]
	delete(p.m, k)
	p.mu.Unlock()
	if !ok {
		return
	}
	for _, v := range u.members().vols {
		if !u.online().has(v.i) { // it is not concerned, else the name could not have become free
			continue
		}
		if err := v.removePrivate(ctx, conflictsName, k.fileName()); err != nil {
			u.log.Warn("pin of a conflict that has ended cannot be removed", "op", "conflict", "volume", v.name, "name", name.String(), "err", err)
		}
	}
}

// loadFrom reads the pins of v. Where they differ from those of another volume, that which was read first counts.
func (p *pins) loadFrom(ctx context.Context, u *Union, v *vol) error {
	return v.eachPrivate(ctx, conflictsName, func(name vfs.Name, b []byte) {
		if path.Ext(name.String()) != ".json" {
			return
		}
		if err := p.read(b); err != nil {
			u.log.Warn("pin cannot be read", "op", "conflict", "volume", v.name, "file", name.String(), "err", err)
		}
	})
}

func (p *pins) read(b []byte) error {
	k, holder, err := parsePin(b)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.m[k]; !ok {
		p.m[k] = holder
	}
	return nil
}

// parsePin reads what set writes.
func parsePin(b []byte) (k pinKey, holder volume.ID, err error) {
	var f pinFile
	if err := json.Unmarshal(b, &f); err != nil {
		return k, holder, err
	}
	dir, err := hex.DecodeString(f.Dir)
	if err != nil || len(dir) != 16 {
		return k, holder, fmt.Errorf("directory %q is no node id", f.Dir)
	}
	name, err := vfs.ParseName(string(f.Name))
	if err != nil {
		return k, holder, fmt.Errorf("name %q: %w", f.Name, err)
	}
	holder, err = volume.ParseID(f.Holder)
	return pinKey{vfs.NodeID(dir), name}, holder, err
}
