package union

import (
	"context"
	"fmt"
	"slices"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// sighting is an object as seen under a name in one copy of a directory.
type sighting struct {
	vol     int
	at      int64 // when the volume was asked
	st      volume.Stat
	id      volume.Identity
	trusted bool // id.Key will not come again
	node    vfs.Node
	mark    mark
	marked  bool // mark was found and believed
	known   bool // node was in memory under this key
}

// isDir reports whether it is a directory.
func (s *sighting) isDir() bool { return s.st.Type == vfs.Directory }

// old reports whether a key that is seen now can be trusted from now on.
func old(k volume.Key) bool {
	return k.Birth != 0 && time.Now().UnixNano()-k.Birth > int64(volume.KeyQuiet)
}

// look sees what is called phys in an open copy. A node that is known by a trusted key, or is open, so that nothing else has its
// key, costs a stat; another its identity and its mark besides.
func (u *Union) look(ctx context.Context, h *dirHandle, phys vfs.Name) (sighting, error) {
	v := u.vol(h.vol)
	s := sighting{vol: h.vol, at: u.now()}
	var err error
	u.stats.stats.Add(1)
	if s.st, err = h.d.StatAt(ctx, phys); err != nil {
		return s, err
	}
	if n := v.keyed(s.st.Key); n != nil {
		n.mu.Lock()
		if c := n.copyOn(h.vol); c != nil && c.id.Key == s.st.Key && !n.gone && (c.trusted || n.holds(v)) {
			c.trusted = c.trusted || old(c.id.Key)
			s.id, s.trusted, s.known, s.node, s.marked = c.id, c.trusted, true, n.node(), c.marked
			s.mark = mark{home: n.home == h.vol, node: s.node}
			n.mu.Unlock()
			return s, nil
		}
		n.mu.Unlock()
	}
	return s, u.identify(ctx, h, phys, &s)
}

// holds reports whether n is open on v, so that no other object gets its key meanwhile. Where there is no time of birth a key is
// but a number, which some file systems derive from the path. Needs n.mu.
func (n *node) holds(v *vol) bool {
	f := n.file
	if f == nil || f.vol != v.i || f.opening != v.opening.Load() {
		return false
	}
	c := n.copyOn(v.i)
	return c != nil && c.id.Birth != 0
}

// identify fills s with the object's identity, mark and node.
func (u *Union) identify(ctx context.Context, h *dirHandle, phys vfs.Name, s *sighting) error {
	v := u.vol(h.vol)
	var err error
	if s.st, s.id, err = h.d.IdentifyAt(ctx, phys); err != nil {
		return err
	}
	s.trusted = old(s.id.Key)
	s.node = v.birthNode(&s.id)
	b, err := h.d.MarkAt(ctx, phys)
	if err != nil {
		return err
	}
	if m, ok := decodeMark(u.markKey, b, v.id, &s.id); ok {
		s.mark, s.marked, s.node = m, true, m.node
		return nil
	}
	if n := v.keyed(s.id.Key); n != nil {
		n.mu.Lock()
		if c := n.copyOn(h.vol); c != nil && c.id == s.id && !n.gone {
			s.known, s.node = true, n.node()
		}
		n.mu.Unlock()
	}
	return nil
}

// lookAll sees what is called phys in all copies of hs at once. Where it is truly
// absent there is no sighting; any other error is that of the whole.
func (u *Union) lookAll(ctx context.Context, hs handles, phys vfs.Name) ([]sighting, error) {
	set := hs.set()
	if set.count() == 1 {
		h := hs[set.first()]
		s, err := u.look(ctx, h, phys)
		if vfs.StatusOf(err) == vfs.NoEnt {
			return nil, nil
		}
		if err != nil {
			return nil, h.lost(err)
		}
		return []sighting{s}, nil
	}
	found := make([]sighting, set.count())
	err := u.askEach(set, func(v int) error {
		s, err := u.look(ctx, hs[v], phys)
		if err != nil && vfs.StatusOf(err) != vfs.NoEnt {
			return hs[v].lost(err)
		}
		found[set.rank(v)] = s
		return nil
	})
	if err != nil {
		return nil, err
	}
	list := found[:0]
	for _, s := range found {
		if s.st.Type != 0 {
			list = append(list, s)
		}
	}
	return list, nil
}

// settle makes the sightings of one name, all directories or a single one, a node with
// a reference, and notes its place. asked is the set of volumes that were asked: a copy
// of a directory on one of them that was not seen is not there any more. asOf is when these were asked.
func (u *Union) settle(ctx context.Context, at place, seen []sighting, asked volset, asOf int64) (*node, error) {
	vn := u.chooseID(ctx, at, seen)
	n, added, err := u.intern(ctx, at, vn, seen, asked, asOf)
	if err != nil {
		return nil, err
	}
	if n.typ != seen[0].st.Type {
		n.put()
		return nil, u.fault("identify", at.name.String(), fmt.Sprintf("node %s is of type %d and was of type %d", vn.ID, seen[0].st.Type, n.typ))
	}
	if !added {
		u.learn(n, at, seen, asked, asOf)
	}
	return n, nil
}

// chooseID is the node that the sightings are: the first believed mark in volume order,
// else the first that is known already, else the first object's birth. A mark says less than the place where its node is
// known to be still: a copy that was moved away from the others gets its own birth's id.
func (u *Union) chooseID(ctx context.Context, at place, seen []sighting) vfs.Node {
	for i := range seen {
		s := &seen[i]
		if !s.marked || s.node.IsZero() {
			continue
		}
		if s.isDir() && !s.mark.home && u.livesElsewhere(ctx, s.node, at, seen) {
			u.ownID(ctx, at, s)
			continue
		}
		return s.node
	}
	for i := range seen {
		if seen[i].known {
			return seen[i].node
		}
	}
	return seen[0].node
}

// livesElsewhere reports whether the directory vn, whose mark was found at at but not on its home copy, still is
// elsewhere, on a volume that is not among seen: as far as memory or the index know its place, or its birthplace tells.
func (u *Union) livesElsewhere(ctx context.Context, vn vfs.Node, at place, seen []sighting) bool {
	n, err := u.known(vn)
	if err != nil {
		return u.homeElsewhere(ctx, vn, at, seen)
	}
	defer n.put()
	n.mu.Lock()
	if len(n.places) == 0 || n.places[0].dir.ID == at.dir.ID && n.places[0].name == at.name {
		n.mu.Unlock()
		return false
	}
	other := n.places[0]
	copies := append([]copyOf(nil), n.copies...)
	n.mu.Unlock()
	p, err := u.known(other.dir)
	if err != nil {
		return u.homeElsewhere(ctx, vn, at, seen)
	}
	defer p.put()
	for _, c := range copies {
		if c.vol == seen[0].vol {
			continue
		}
		if !u.online().has(c.vol) { // it is where it was when it went
			return true
		}
		h, err := u.dirAt(ctx, p, c.vol)
		if err != nil {
			continue // what cannot be asked cannot vouch
		}
		st, err := h.d.StatAt(ctx, other.phys)
		h.release()
		if err == nil && st.Key == c.id.Key {
			return true
		}
	}
	return false
}

// homeElsewhere reports whether the volume that vn was born on still has it, as its home copy, at another place than at,
// though no sighting of it is from there. A volume that cannot tell vouches for nothing; nor does one that was not asked
// because it is away, or was until a moment ago: there the copy may be where the others are.
func (u *Union) homeElsewhere(ctx context.Context, vn vfs.Node, at place, seen []sighting) bool {
	v := u.volumeByTag(vn.Birth.Volume)
	if v == nil || !u.online().has(v.i) || !v.can().Locate || slices.ContainsFunc(seen, func(s sighting) bool { return s.vol == v.i }) {
		return false
	}
	path, err := v.v.Locate(ctx, vn.Birth.Ino, vn.Birth.Gen)
	if err != nil || len(path) == 0 {
		return false
	}
	d, name, err := openDown(ctx, v.v.Root(), path)
	if err != nil {
		return false
	}
	defer d.release()
	_, id, err := d.d.IdentifyAt(ctx, name)
	if err != nil || id.Ino != vn.Birth.Ino || id.Gen != vn.Birth.Gen {
		return false
	}
	b, err := d.d.MarkAt(ctx, name)
	if err != nil {
		return false
	}
	m, ok := decodeMark(u.markKey, b, v.id, &id)
	return ok && m.home && m.node.ID == vn.ID && (name != at.phys || !u.standsFor(ctx, v, d.d, len(path) == 1, at.dir))
}

// standsFor reports whether d, which lies on v, is a copy of the directory vn, as far as it tells itself.
func (u *Union) standsFor(ctx context.Context, v *vol, d volume.Dir, root bool, vn vfs.Node) bool {
	if root || vn.ID == u.root.id {
		return root && vn.ID == u.root.id
	}
	_, id, err := d.Identify(ctx)
	if err != nil {
		return false
	}
	b, err := d.Mark(ctx)
	if err != nil {
		return false
	}
	if m, ok := decodeMark(u.markKey, b, v.id, &id); ok {
		return m.node.ID == vn.ID
	}
	return v.birthNode(&id).ID == vn.ID
}

// ownID gives what was moved away from the other copies of its directory the id of its birth, and takes their mark away:
// the next sight, which may not know of the others, says the same.
func (u *Union) ownID(ctx context.Context, at place, s *sighting) {
	own := u.vol(s.vol).birthNode(&s.id)
	if own.ID == s.node.ID {
		return
	}
	u.log.Warn("copy of a directory was moved away from the others; it is a directory of its own now", "op", "identify", "node", s.node.ID, "own", own.ID, "volume", u.vol(s.vol).name, "name", at.phys.String())
	s.node, s.mark, s.marked = own, mark{}, false
	h, err := u.parentOf(ctx, at, s.vol)
	if err == nil {
		err = h.d.SetMarkAt(ctx, at.phys, s.id.Key, nil)
		h.release()
	}
	if err != nil {
		u.log.Warn("mark of a directory that was moved away cannot be removed; its id may change again", "op", "identify", "node", own.ID, "volume", u.vol(s.vol).name, "name", at.phys.String(), "err", err)
	}
}

// parentOf is the open copy on volume v of the directory of a place; the caller releases it.
func (u *Union) parentOf(ctx context.Context, at place, v int) (*dirHandle, error) {
	parent, err := u.known(at.dir)
	if err != nil {
		return nil, err
	}
	defer parent.put()
	return u.dirAt(ctx, parent, v)
}

// intern is the node in memory for vn, made of the sightings if it is not there, with a
// reference. An id that cannot be used (fileid 0, or that of another living node, or of one that is known to be gone
// where identities come again) is replaced by a fresh one, which is written beside the object.
func (u *Union) intern(ctx context.Context, at place, vn vfs.Node, seen []sighting, asked volset, asOf int64) (n *node, added bool, err error) {
	for range searches {
		if n := u.table.get(vn.ID); n != nil {
			return n, false, nil
		}
		if vn.ID.FileID() != 0 && !u.spent(vn, &seen[0]) {
			if st := &seen[0].st; st.Type != vfs.Directory && st.Nlink > 1 { // the index may know its other names
				if n := u.fromIndex(vn); n != nil {
					return n, false, nil
				}
			} else if st.Type == vfs.Directory && u.away() != 0 { // and its copies that cannot be seen now
				if n := u.fromIndex(vn); n != nil {
					return n, false, nil
				}
			}
			n = u.newNode(vn, seen[0].st.Type)
			n.setPlace(at, seen[0].st.Nlink)
			u.setCopies(n, seen, asked)
			u.storeAttr(n, seen, seenAt(seen))
			if n.isDir() && u.online()&^asked == 0 {
				n.copiesAt = asOf
			}
			there, added, taken := u.table.add(n)
			if added {
				u.rekey(n, nil)
				u.putRow(n)
				u.charge(nodeBytes)
			}
			if !taken {
				return there, added, nil
			}
		}
		if vn, err = u.freshID(ctx, at, vn, &seen[0]); err != nil {
			return nil, false, err
		}
	}
	return nil, false, u.fault("identify", at.name.String(), "fresh ids collide")
}

// spent reports whether vn was another object's that is known to be gone: where identities come again, as overlayfs
// gives an inode number and birth time to the next file of the same tick. An identity that does not come again
// was gone only from where it could be seen.
func (u *Union) spent(vn vfs.Node, s *sighting) bool {
	if !u.scans.gone.has(vn.ID) {
		return false
	}
	if !u.vol(s.vol).can().StrongIdentity {
		return true
	}
	u.scans.gone.remove(vn.ID)
	return false
}

// seenAt is when the first of the sightings was.
func seenAt(seen []sighting) int64 {
	at := seen[0].at
	for i := range seen {
		at = min(at, seen[i].at)
	}
	return at
}

func (u *Union) newNode(vn vfs.Node, t vfs.Type) *node {
	if t == vfs.Directory {
		return newDirNode(vn)
	}
	return &node{id: vn.ID, birth: vn.Birth, typ: t}
}

// freshID draws an id for an object whose own cannot be used, and writes it beside it.
func (u *Union) freshID(ctx context.Context, at place, vn vfs.Node, s *sighting) (vfs.Node, error) {
	v := u.vol(s.vol)
	fresh := vfs.Node{ID: vfs.NodeID(volume.NewID()), Birth: vn.Birth}
	h, err := u.parentOf(ctx, at, s.vol)
	if err != nil {
		return vfs.Node{}, err
	}
	defer h.release()
	m := mark{home: true, node: fresh, epoch: 1, attrEpoch: 1}
	if err := h.d.SetMarkAt(ctx, at.phys, s.id.Key, m.encode(u.markKey, v.id, &s.id)); err != nil {
		return vfs.Node{}, &vfs.Error{Status: vfs.IO, Op: "give a fresh id", Object: at.phys.String(), Volume: v.name, Err: err, Do: "move the object away and back by cp -a: its inode number collides with that of another"}
	}
	s.node, s.mark, s.marked = fresh, m, true
	u.log.Warn("object got a fresh id: its own is or was another's", "op", "identify", "node", fresh.ID, "volume", v.name, "name", at.phys.String())
	return fresh, v.v.SyncAll(ctx) // the mark is the object's own: a flush of the directory does not keep it
}

// learn notes what the sightings say of n: its copies, its place, its attributes.
func (u *Union) learn(n *node, at place, seen []sighting, asked volset, asOf int64) {
	now := seenAt(seen)
	n.mu.Lock()
	if n.gone {
		n.mu.Unlock()
		return
	}
	had := len(n.copies)
	fresh := had == 0
	moved := n.setPlace(at, seen[0].st.Nlink)
	if asOf < n.copiesAt { // more was seen since: these sightings deny nothing
		asked = 0
	}
	var gone []copyOf
	if !n.changing && now > n.changedAt { // else a change of ours came between
		gone = u.setCopies(n, seen, asked)
		u.storeAttr(n, seen, now)
	}
	if n.isDir() && u.online()&^asked == 0 {
		n.copiesAt = max(n.copiesAt, asOf)
	}
	gained := len(n.copies) > had // with a volume that is away at the next start it is the row that knows
	n.mu.Unlock()
	u.rekey(n, gone)
	if fresh || moved || gained || len(gone) > 0 {
		u.putRow(n)
	}
	if moved && !fresh {
		u.tell(vfs.Event{Kind: vfs.ForgetNode, Node: n.id})
	}
}

// rekey registers the keys of n's copies, and takes out those of gone.
func (u *Union) rekey(n *node, gone []copyOf) {
	n.mu.Lock()
	copies := append(make([]copyOf, 0, 4), n.copies...)
	n.mu.Unlock()
	for _, c := range gone {
		u.vol(c.vol).unkey(c.id.Key, n)
		if c.dir != nil {
			u.dirs.doom(c.dir)
		}
	}
	for _, c := range copies {
		u.keyAt(u.vol(c.vol), c.id.Key, n)
	}
}

// keyAt registers n at a key of v. A node that was there until now gets no news any more.
func (u *Union) keyAt(v *vol, k volume.Key, n *node) {
	was := v.setKey(k, n)
	if was == nil {
		return
	}
	was.mu.Lock()
	if c := was.copyOn(v.i); c != nil && c.id.Key == k {
		c.covered = 0
	}
	was.mu.Unlock()
}

// setPlace notes a name of n and reports whether it is news. Needs n.mu.
func (n *node) setPlace(at place, nlink uint32) bool {
	for i := range n.places {
		p := &n.places[i]
		if p.dir.ID == at.dir.ID && p.name == at.name {
			p.phys = at.phys
			return false
		}
	}
	if n.isDir() || nlink <= 1 {
		n.places = n.places[:0]
	}
	if len(n.places) < placesMax {
		n.places = append(n.places, at)
	}
	return true
}

// placesMax bounds the names of one object that are remembered.
const placesMax = 1024

// dropPlace forgets a name of n. Needs n.mu.
func (n *node) dropPlace(dir vfs.NodeID, name vfs.Name) {
	for i := range n.places {
		if n.places[i].dir.ID == dir && n.places[i].name == name {
			n.places = append(n.places[:i], n.places[i+1:]...)
			return
		}
	}
}

// setCopies notes where n was seen and gives the copies that are not there any
// more. Needs n.mu.
func (u *Union) setCopies(n *node, seen []sighting, asked volset) (gone []copyOf) {
	if !n.isDir() {
		s := &seen[0]
		if len(n.copies) == 1 && n.copies[0].vol == s.vol && n.copies[0].id == s.id {
			n.copies[0].trusted = n.copies[0].trusted || s.trusted
			return nil
		}
		gone = n.copies
		n.copies = []copyOf{{vol: s.vol, id: s.id, trusted: s.trusted, marked: s.marked}}
		return gone
	}
	var there volset
	for i := range seen {
		there = there.with(seen[i].vol)
	}
	kept := make([]copyOf, 0, len(n.copies)+len(seen))
	for _, c := range n.copies {
		if asked.has(c.vol) && !there.has(c.vol) {
			gone = append(gone, c)
			continue
		}
		kept = append(kept, c)
	}
	for i := range seen {
		s := &seen[i]
		kept, gone = mergeCopy(kept, gone, s, n.id)
	}
	if len(gone) > 0 || len(kept) != len(n.copies) {
		u.forgetNames(n) // other copies, other names
	}
	before := len(n.copies)
	n.copies = kept
	n.chooseHome(seen, before)
	return gone
}

// mergeCopy adds a sighting to copies in volume order.
func mergeCopy(kept, gone []copyOf, s *sighting, id vfs.NodeID) (k, g []copyOf) {
	mine := s.marked && s.node.ID == id
	i := 0
	for i < len(kept) && kept[i].vol < s.vol {
		i++
	}
	fresh := copyOf{vol: s.vol, id: s.id, trusted: s.trusted, marked: mine}
	if mine {
		fresh.stamp, fresh.epoch = s.mark.stamp, s.mark.attrEpoch
	}
	if i < len(kept) && kept[i].vol == s.vol {
		if kept[i].id == s.id {
			kept[i].trusted = kept[i].trusted || s.trusted
			kept[i].marked = kept[i].marked || mine
			kept[i].epoch = max(kept[i].epoch, fresh.epoch)
			if fresh.epoch != 0 && kept[i].ctime == (vfs.Time{}) { // the index told of it, and nobody read its stamp
				kept[i].stamp = fresh.stamp
			}
			return kept, gone
		}
		gone = append(gone, kept[i])
		kept[i] = fresh
		return kept, gone
	}
	kept = append(kept, copyOf{})
	copy(kept[i+1:], kept[i:])
	kept[i] = fresh
	return kept, gone
}

// chooseHome settles which copy has the directory's attributes: the one that had
// them, else the one whose mark says so, else the one whose birth is the node's, else the
// first. before is how many copies there were. Needs n.mu.
func (n *node) chooseHome(seen []sighting, before int) {
	if len(n.copies) == 0 || before > 0 && n.copyOn(n.home) != nil {
		return
	}
	n.home = n.copies[0].vol
	for i := range seen {
		s := &seen[i]
		if s.marked && s.mark.home && s.node.ID == n.id {
			n.home = s.vol
			return
		}
		if !s.marked && s.node.ID == n.id {
			n.home = s.vol
		}
	}
}

// forgetNames makes the names of n be proved before they are believed again. Needs n.mu.
func (u *Union) forgetNames(n *node) {
	u.renewAbsents(n)
	if n.names != nil {
		n.names.doubt(u.away())
		u.copiesBehind(n)
	}
}
