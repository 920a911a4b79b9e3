package union

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"

	"sheaf/meta"
	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// What the index says of a volume that is away counts as long as nobody else has changed the share since. So whoever takes a
// volume in signs it, in .sheaf/served, and looks who did before:
//
//	T1  A volume is signed, durably, before a name on it, or while it is there on any other, is changed.
//	T2  Whoever finds another's signature takes what stands out of his index, durably, before he signs (meta.Store.Distrust): at the
//	    start before he signs any volume. From then on nobody knows what is on the volumes that are away.
//
// One volume with one's own signature suffices to know. Others who had none of those that are there now could remove names on the
// rest, but make none: they did not know what is here. A volume that is mounted read-only bears no signature of theirs, so it
// proves nothing.
//
// The file is one JSON object of constant length, so that it can be written anew on a full disk. One that was cut off is another's.
type servedFile struct {
	Volume string `json:"volume"` // that it was written for: a copy's is nobody's
	Turn   string `json:"turn"`   // meta.Turn: index and session[4], in hexadecimal
}

var servedName = vfs.MustName(privateServed)

// turnBytes is the length of a Turn as it is written.
const turnBytes = 20

func encodeTurn(t meta.Turn) string {
	s := t.Session
	return hex.EncodeToString(append(t.Index[:], byte(s>>24), byte(s>>16), byte(s>>8), byte(s)))
}

// decodeTurn is what is written, or nobody's turn.
func decodeTurn(s string) (t meta.Turn) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != turnBytes {
		return t
	}
	t.Index = [16]byte(b)
	for _, c := range b[len(t.Index):] {
		t.Session = t.Session<<8 | uint32(c)
	}
	return t
}

// servedBy is who served v last; not signed: nobody has, as far as is known.
func (v *vol) servedBy(ctx context.Context) (t meta.Turn, signed bool, err error) {
	p := v.v.Private()
	st, err := p.StatAt(ctx, servedName)
	switch {
	case vfs.StatusOf(err) == vfs.NoEnt:
		return t, false, nil
	case err != nil:
		return t, false, err
	case st.Type != vfs.Regular || st.Size > recordMax:
		return t, true, nil
	}
	b, err := readSmall(ctx, p, servedName, int(st.Size))
	if err != nil {
		return t, false, err
	}
	t, written := decodeServed(b)
	return t, written == "" || written == v.id.String(), nil
}

// decodeServed is whose turn is written, and for which volume: none if it was cut off.
func decodeServed(b []byte) (t meta.Turn, volume string) {
	var f servedFile
	if err := json.Unmarshal(b, &f); err != nil {
		return t, ""
	}
	return decodeTurn(f.Turn), f.Volume
}

// sign writes that t serves v.
func (v *vol) sign(ctx context.Context, t meta.Turn) error {
	b, err := json.Marshal(servedFile{Volume: v.id.String(), Turn: encodeTurn(t)})
	if err != nil {
		return err
	}
	p := v.v.Private()
	st, err := p.StatAt(ctx, servedName)
	if err == nil && st.Type == vfs.Regular && st.Size == uint64(len(b)) {
		f, err := p.Open(ctx, servedName, volume.Write)
		if err != nil {
			return err
		}
		return writeSmall(ctx, f, b)
	}
	if err == nil {
		err = v.unsign(ctx)
	}
	if err != nil && vfs.StatusOf(err) != vfs.NoEnt {
		return err
	}
	n, err := privateNew(ctx, p, 0o600)
	if err != nil {
		return err
	}
	f, _, _, err := p.Create(ctx, servedName, n)
	if err != nil {
		return err
	}
	if err := writeSmall(ctx, f, b); err != nil {
		return errors.Join(err, p.Unlink(ctx, servedName))
	}
	return p.Sync(ctx)
}

// writeSmall writes b into f, durably, and closes it.
func writeSmall(ctx context.Context, f volume.File, b []byte) error {
	_, err := f.WriteAt(ctx, b, 0)
	if err == nil {
		err = f.Sync(ctx, false)
	}
	return errors.Join(err, f.Close())
}

// turn is what this server signs with.
func (u *Union) turn() meta.Turn {
	if u.keeps() {
		return u.opt.Index.Turn()
	}
	return u.ownTurn
}

// drawTurn is the turn of a server that keeps nothing: others must not believe what they know either.
func drawTurn() (t meta.Turn) {
	rand.Read(t.Index[:]) // never fails (crypto/rand)
	return t
}

// checkTurns looks at all volumes that are there at the start whether somebody else had them (T2).
func (u *Union) checkTurns(ctx context.Context, there []*vol) error {
	if !u.keeps() {
		return nil
	}
	proved := len(there) == len(u.members().vols)
	for _, v := range there {
		t, signed, err := v.servedBy(ctx)
		if err != nil || signed && !u.opt.Index.Knows(t) { // whether it can be used is found by who takes it in
			return u.distrustIndex(v, t)
		}
		proved = proved || signed && !v.can().ReadOnly
	}
	if proved || len(there) == 0 {
		return nil
	}
	u.log.Warn("the volumes that are there cannot tell who served the share last: names on those that are away are not known until these are back", "op", "start")
	return u.opt.Index.Distrust(meta.Turn{})
}

// takeTurn signs v, which comes (T1). If another did before, what is known of the volumes that are away does not count (T2).
func (u *Union) takeTurn(ctx context.Context, v *vol) error {
	t, signed, err := v.servedBy(ctx)
	if err != nil {
		return err
	}
	if u.keeps() && u.opened.Load() && signed && (t != v.signed || t == meta.Turn{}) && !u.opt.Index.Knows(t) {
		u.distrustAway() // first: rows that are written of what memory knows, while the index is told, are believed
		if err := u.distrustIndex(v, t); err != nil {
			return err
		}
	}
	own := u.turn()
	if v.can().ReadOnly || signed && t == own {
		return nil
	}
	before := v.signed
	v.signed = own
	err = v.sign(ctx, own)
	switch vfs.StatusOf(err) {
	case vfs.ROFS: // nothing can be changed there, by us
	case vfs.NoSpc, vfs.DQuot:
		known := t == before || u.keeps() && u.opt.Index.Knows(t)
		if signed && !known { // it would tell the other that we were not here
			if uerr := v.unsign(ctx); uerr != nil {
				return errors.Join(err, uerr)
			}
		}
		u.log.Warn("the volume is too full for a note of who serves it", "op", "admit", "volume", v.name, "err", err)
	default:
		return err
	}
	return nil
}

// unsign takes the signature away.
func (v *vol) unsign(ctx context.Context) error {
	p := v.v.Private()
	if err := p.Unlink(ctx, servedName); err != nil && vfs.StatusOf(err) != vfs.NoEnt {
		return err
	}
	return p.Sync(ctx)
}

// distrustIndex takes what stands out of the index, because t had v.
func (u *Union) distrustIndex(v *vol, t meta.Turn) error {
	if u.away() != 0 {
		u.log.Warn("the share was served with another state directory meanwhile: names on volumes that are away are not known until these are back",
			"op", "admit", "volume", v.name)
	}
	return u.opt.Index.Distrust(t)
}

// distrustAway forgets what memory knows of volumes that are away: as if they had come and gone.
func (u *Union) distrustAway() {
	now := u.now()
	u.change(func(m *members) {
		for _, v := range (m.all &^ m.online).list() {
			m.at[v].openedAt.Store(now)
		}
		m.openedAt = max(m.openedAt, now)
	})
}
