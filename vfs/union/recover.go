package union

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// The directories of ours that recovery reads.
var (
	displacedName = vfs.MustName("displaced")
	intentsName   = vfs.MustName("intents")
)

// nodeRecord is a vfs.Node as it is written.
type nodeRecord struct {
	ID     string `json:"id"`
	Volume uint64 `json:"volume"`
	Ino    uint64 `json:"ino"`
	Gen    uint32 `json:"gen"`
	Sub    uint32 `json:"sub"`
}

func recordOf(n vfs.Node) nodeRecord {
	return nodeRecord{n.ID.String(), n.Birth.Volume, n.Birth.Ino, n.Birth.Gen, n.Birth.Sub}
}

func (r *nodeRecord) node() (vfs.Node, error) {
	b, err := hex.DecodeString(r.ID)
	if err != nil || len(b) != 16 {
		return vfs.Node{}, fmt.Errorf("%q is no node id", r.ID)
	}
	return vfs.Node{ID: vfs.NodeID(b), Birth: vfs.Birth{Volume: r.Volume, Ino: r.Ino, Gen: r.Gen, Sub: r.Sub}}, nil
}

// displaced is an object that was set aside because another, on another volume, takes its
// name. The object lies beside its record in PrivateName/displaced of its volume, under the
// record's name without ".json".
//
// Steps: (1) the record is written and synced; (2) the object is renamed to there, both
// directories synced; (3) the successor is renamed to the name and synced: this
// decides; (4) the object and its record go, synced. Recovery asks whether the successor has the
// name: then it does (4), else it puts the object back.
type displaced struct {
	vol    *vol
	id     vfs.Name
	parent volume.Dir // open copy of the directory, kept by the caller
	phys   vfs.Name
	b      []byte // the record
}

// displacedFile is the record: one JSON object.
type displacedFile struct {
	Dir       nodeRecord `json:"dir"`
	Name      []byte     `json:"name"` // in the share
	Phys      []byte     `json:"phys"` // on the volume
	Successor nodeRecord `json:"successor"`
}

func jsonName(id vfs.Name) vfs.Name { return vfs.MustName(id.String() + ".json") }

func (u *Union) freshRecord() vfs.Name {
	return vfs.MustName(fmt.Sprintf("%016x", u.displaced.Add(1)))
}

// displace is steps 1 and 2 for what r replaces.
func (u *Union) displace(ctx context.Context, r *renaming) (*displaced, error) {
	v := u.vol(r.dstOn.first())
	h, err := u.dirAt(ctx, r.to, v.i)
	if err != nil {
		return nil, err
	}
	defer h.release() // r holds the lease on the directory: the handle stays its copy's
	x := &displaced{vol: v, id: u.freshRecord(), parent: h.d, phys: r.dstAt.phys}
	b, err := json.Marshal(displacedFile{
		Dir: recordOf(r.to.node()), Name: []byte(r.toName.String()), Phys: []byte(x.phys.String()), Successor: recordOf(r.src.node()),
	})
	if err != nil {
		return nil, err
	}
	x.b = b
	if err := v.writePrivate(ctx, displacedName, jsonName(x.id), b); err != nil {
		return nil, err
	}
	d, err := v.privateDir(ctx, displacedName, true)
	if err != nil {
		return nil, err
	}
	err = h.d.Rename(ctx, x.phys, d, x.id, true)
	if isAway(err) { // nothing was begun
		return nil, errors.Join(err, d.Close())
	}
	if err == nil {
		err = errors.Join(d.Sync(ctx), u.syncDir(ctx, h))
	}
	if err == nil {
		return x, d.Close()
	}
	// Whatever failed, the object may be set aside: nobody may find its name free.
	if back := x.putBack(ctx, u); back != nil {
		u.leaveRecord(v, displacedName, x.id, b, back)
		err = &vfs.Error{Status: vfs.IO, Op: "set aside", Object: x.phys.String(), Volume: v.name, Err: errors.Join(err, back)}
	}
	return nil, done(errors.Join(err, d.Close()))
}

// putBack undoes what displace did, or may have done.
func (x *displaced) putBack(ctx context.Context, u *Union) error {
	d, err := x.vol.privateDir(ctx, displacedName, true)
	if err != nil {
		return err
	}
	err = d.Rename(ctx, x.id, x.parent, x.phys, true)
	if vfs.StatusOf(err) == vfs.NoEnt { // it never was there, or an earlier attempt did that
		err = nil
	}
	if err == nil {
		u.stats.syncs.Add(2)
		err = errors.Join(x.parent.Sync(ctx), d.Sync(ctx))
	}
	if err == nil { // not before: without its record the object would be lost here
		err = d.Unlink(ctx, jsonName(x.id))
	}
	return errors.Join(err, d.Close())
}

// drop is step 4. It is synced: an object that came back at a power cut would be put
// back under a name that its successor has left by then. Its record goes after that, so that
// no object is left without one; a record alone is no harm.
func (x *displaced) drop(ctx context.Context, u *Union) error {
	d, err := x.vol.privateDir(ctx, displacedName, true)
	if err != nil {
		return err
	}
	err = d.Unlink(ctx, x.id)
	if err == nil || vfs.StatusOf(err) == vfs.NoEnt { // an earlier attempt did that
		u.stats.syncs.Add(1)
		err = d.Sync(ctx)
	}
	if err == nil {
		err = d.Unlink(ctx, jsonName(x.id))
	}
	return errors.Join(err, d.Close())
}

// recoverDisplaced settles one displaced object.
func (u *Union) recoverDisplaced(ctx context.Context, v *vol, id vfs.Name, b []byte) (err error) {
	var f displacedFile
	if err := json.Unmarshal(b, &f); err != nil {
		return err
	}
	d, err := v.privateDir(ctx, displacedName, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if _, err := d.StatAt(ctx, id); vfs.StatusOf(err) == vfs.NoEnt { // not set aside yet, put back, or gone already
		// What is gone must not come back without its record, nor what was put back go.
		if err := v.v.SyncAll(ctx); err != nil {
			return err
		}
		return d.Unlink(ctx, jsonName(id))
	}
	if u.pending.isDecided(v, id) {
		x := &displaced{vol: v, id: id}
		return x.drop(ctx, u)
	}
	dirNode, err := f.Dir.node()
	if err != nil {
		return err
	}
	name, err := vfs.ParseName(string(f.Name))
	if err != nil {
		return err
	}
	phys, err := vfs.ParseName(string(f.Phys))
	if err != nil {
		return err
	}
	dir, err := u.resolve(ctx, dirNode)
	if vfs.StatusOf(err) == vfs.Stale {
		u.log.Warn("object that was set aside has no directory any more; it is left where it is", "op", "recover", "volume", v.name, "object", id.String(), "name", name.String())
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.put()
	n, err := u.lookup(ctx, dir, name)
	if err == nil {
		defer n.put()
		if n.id.String() == f.Successor.ID {
			// The one before us may not have come to make the rename durable, and it is not known where from it was.
			if err := u.vol(n.volumes().first()).v.SyncAll(ctx); err != nil {
				return err
			}
			x := &displaced{vol: v, id: id}
			return x.drop(ctx, u)
		}
		if same, err := isCopy(ctx, d, id, n, v.i); err != nil {
			return err
		} else if same {
			return u.dropSecondName(ctx, v, id, n)
		}
		phys = vfs.MustName(phys.String()[:min(len(phys.String()), vfs.NameMax-len(".displaced-")-len(id.String()))] + ".displaced-" + id.String())
		u.log.Warn("name of an object that was set aside is taken; it comes back under another", "op", "recover", "volume", v.name, "name", name.String(), "as", phys.String())
	} else if vfs.StatusOf(err) != vfs.NoEnt {
		return err
	}
	h, err := u.dirAt(ctx, dir, v.i)
	if errors.Is(err, errNoCopy) { // empty without the object, and removed by another process
		if err = u.ensureCopy(ctx, dir, v.i); err == nil {
			h, err = u.dirAt(ctx, dir, v.i)
		}
	}
	if err != nil {
		return err
	}
	defer h.release()
	u.distrust(dir)
	x := &displaced{vol: v, id: id, parent: h.d, phys: phys}
	return x.putBack(ctx, u)
}

// dropSecondName takes its name in our directory from the object n, which has its own: the power went between the flushes
// of the two directories.
func (u *Union) dropSecondName(ctx context.Context, v *vol, id vfs.Name, n *node) error {
	if err := v.v.SyncAll(ctx); err != nil {
		return err
	}
	n.unsettle() // it has a link less than we saw just now
	x := &displaced{vol: v, id: id}
	return x.drop(ctx, u)
}

// isCopy reports whether what is called name in the directory d of volume v is the object n.
func isCopy(ctx context.Context, d volume.Dir, name vfs.Name, n *node, v int) (bool, error) {
	_, id, err := d.IdentifyAt(ctx, name)
	if err != nil {
		return false, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.copyOn(v)
	return c != nil && c.id == id, nil
}

// intent says that the copies of a directory are being renamed: those on Volumes follow
// that on the volume where it is written, which decides. It lies in PrivateName/intents there.
type intent struct {
	vol *vol
	id  vfs.Name
	b   []byte
}

// intentFile is an intent as it is written: one JSON object.
type intentFile struct {
	Node     nodeRecord `json:"node"`
	From     nodeRecord `json:"from"`
	FromName []byte     `json:"fromName"` // on the volumes
	To       nodeRecord `json:"to"`
	ToName   []byte     `json:"toName"`
	Volumes  []string   `json:"volumes"` // with a copy, the deciding one first
	Victim   string     `json:"victim"`  // NodeID of the empty directory that is replaced
	Rest     []string   `json:"rest"`    // volumes where only the victim has a copy
}

// intend writes an intent, durably, if more than one volume is concerned.
func (u *Union) intend(ctx context.Context, r *renaming, target place, home int) (*intent, error) {
	rest := r.dstOn &^ r.srcOn
	if r.srcOn.count() == 1 && rest == 0 {
		return nil, nil
	}
	f := intentFile{
		Node: recordOf(r.src.node()), From: recordOf(r.from.node()), FromName: []byte(r.srcAt.phys.String()),
		To: recordOf(r.to.node()), ToName: []byte(target.phys.String()), Volumes: []string{u.vol(home).id.String()},
	}
	for _, v := range r.srcOn.minus(home).list() {
		f.Volumes = append(f.Volumes, u.vol(v).id.String())
	}
	for _, v := range rest.list() {
		f.Rest = append(f.Rest, u.vol(v).id.String())
	}
	if r.dst != nil {
		f.Victim = r.dst.id.String()
	}
	b, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	i := &intent{u.vol(home), u.freshRecord(), b}
	return i, i.vol.writePrivate(ctx, intentsName, jsonName(i.id), b)
}

// done removes an intent, when all that it says is durable; safe are volumes where it is. The copies were
// marked, so that a crash before shows which of them have followed.
func (i *intent) done(ctx context.Context, u *Union, safe volset, hs ...handles) error {
	if i == nil {
		return nil
	}
	for _, h := range hs {
		if err := each(h.set()&^safe, func(v int) error { return u.syncDir(ctx, h[v]) }); err != nil {
			return err
		}
	}
	return i.vol.removePrivate(ctx, intentsName, jsonName(i.id))
}

// recoverIntent lets the other copies of a directory follow the deciding one, to where it went or
// where it stayed.
func (u *Union) recoverIntent(ctx context.Context, v *vol, name vfs.Name, b []byte) error {
	var f intentFile
	if err := json.Unmarshal(b, &f); err != nil {
		return err
	}
	from, to, err := u.intentDirs(ctx, &f)
	if vfs.StatusOf(err) == vfs.Stale { // neither can go while it is under way: it was finished
		return v.removePrivate(ctx, intentsName, name)
	}
	if err != nil {
		return err
	}
	defer from.put()
	defer to.put()
	fromName, err := vfs.ParseName(string(f.FromName))
	if err != nil {
		return err
	}
	toName, err := vfs.ParseName(string(f.ToName))
	if err != nil {
		return err
	}
	decided, err := u.isAt(ctx, to, v.i, toName, f.Node.ID)
	if err != nil {
		return err
	}
	if !decided { // copies that went ahead and could not be taken back
		f.Victim, f.Rest = "", nil
		from, to, fromName, toName = to, from, toName, fromName
		decided, err = u.isAt(ctx, to, v.i, toName, f.Node.ID)
		if err != nil {
			return err
		}
	}
	if decided {
		// The one before us may not have come to make durable what decides.
		if err := u.syncAt(ctx, v.i, to, from); err != nil {
			return err
		}
		if err := u.letFollow(ctx, &f, from, to, fromName, toName); err != nil {
			return err
		}
	}
	u.distrust(from)
	u.distrust(to)
	return v.removePrivate(ctx, intentsName, name)
}

func (u *Union) intentDirs(ctx context.Context, f *intentFile) (from, to *node, err error) {
	fn, err := f.From.node()
	if err != nil {
		return nil, nil, err
	}
	tn, err := f.To.node()
	if err != nil {
		return nil, nil, err
	}
	if from, err = u.resolve(ctx, fn); err != nil {
		return nil, nil, err
	}
	if to, err = u.resolve(ctx, tn); err != nil {
		from.put()
		return nil, nil, err
	}
	return from, to, nil
}

// isAt reports whether the node id is what volume v calls phys in d.
func (u *Union) isAt(ctx context.Context, d *node, v int, phys vfs.Name, id string) (bool, error) {
	h, err := u.dirAt(ctx, d, v)
	if errors.Is(err, errNoCopy) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer h.release()
	s, err := u.look(ctx, h, phys)
	if vfs.StatusOf(err) == vfs.NoEnt {
		return false, nil
	}
	return err == nil && s.node.ID.String() == id, err
}

// letFollow renames what has not followed yet, and removes what is left of the victim.
func (u *Union) letFollow(ctx context.Context, f *intentFile, from, to *node, fromName, toName vfs.Name) error {
	for _, s := range append(f.Volumes[1:], f.Rest...) {
		id, err := volume.ParseID(s)
		if err != nil {
			return err
		}
		v := u.volumeByID(id)
		if v == nil { // removed from the share, with its copy
			u.log.Warn("a volume that a rename had to be finished on is no member any more", "op", "recover", "volume", s, "node", f.Node.ID)
			continue
		}
		if err := u.followOn(ctx, f, v.i, from, to, fromName, toName); err != nil {
			return err
		}
	}
	return nil
}

// clearVictim removes what is left of a replaced directory. If another process put something into it
// since, it comes back under another name: nothing is lost, and the share opens.
func (u *Union) clearVictim(ctx context.Context, h *dirHandle, name vfs.Name) error {
	err := h.d.Rmdir(ctx, name)
	if vfs.StatusOf(err) != vfs.NotEmpty {
		return err
	}
	suffix := ".replaced-" + u.freshRecord().String()
	aside := vfs.MustName(name.String()[:min(len(name.String()), vfs.NameMax-len(suffix))] + suffix)
	u.log.Warn("a replaced directory is not empty any more; it comes back under another name", "op", "recover", "volume", u.vol(h.vol).name, "name", name.String(), "as", aside.String())
	return h.d.Rename(ctx, name, h.d, aside, true)
}

func (u *Union) followOn(ctx context.Context, f *intentFile, v int, from, to *node, fromName, toName vfs.Name) error {
	th, err := u.dirAt(ctx, to, v)
	if err != nil {
		return err
	}
	defer th.release()
	if f.Victim != "" {
		there, err := u.isAt(ctx, to, v, toName, f.Victim)
		if err != nil {
			return err
		}
		if there {
			if err := u.clearVictim(ctx, th, toName); err != nil {
				return err
			}
		}
	}
	there, err := u.isAt(ctx, from, v, fromName, f.Node.ID)
	if err != nil {
		return err
	}
	if there {
		fh, err := u.dirAt(ctx, from, v)
		if err != nil {
			return err
		}
		defer fh.release()
		if err := fh.d.Rename(ctx, fromName, th.d, toName, true); err != nil {
			return err
		}
	}
	return u.syncAt(ctx, v, to, from)
}

// syncAt flushes the copies of directories on volume v, those that there are.
func (u *Union) syncAt(ctx context.Context, v int, dirs ...*node) error {
	for _, d := range dirs {
		h, err := u.dirAt(ctx, d, v)
		if errors.Is(err, errNoCopy) {
			continue
		}
		if err != nil {
			return err
		}
		err = u.syncDir(ctx, h)
		h.release()
		if err != nil {
			return err
		}
	}
	return nil
}
