package remote

import (
	"context"
	"math"

	"sheaf/vfs"
)

// Read implements vfs.FS by READs of Options.ReadSize.
func (c *Client) Read(ctx context.Context, w *vfs.Who, n vfs.Node, buf []byte, off uint64) (count int, eof bool, a vfs.Attr, err error) {
	for {
		var got int
		got, eof, a, err = c.read(ctx, w, n, buf[count:], off+uint64(count))
		if count += got; err != nil || eof || count == len(buf) {
			return count, eof, a, err
		}
	}
}

// read is one READ.
func (c *Client) read(ctx context.Context, w *vfs.Who, n vfs.Node, buf []byte, off uint64) (got int, eof bool, a vfs.Attr, err error) {
	fh, err := c.handle(ctx, w, n)
	if err != nil {
		return 0, false, a, err
	}
	want := min(uint32(min(len(buf), math.MaxInt32)), c.opt.ReadSize)
	r, err := c.call(ctx, w, procRead, args{}.handle(fh).u64(off).u32(want))
	if err != nil {
		return 0, false, a, err
	}
	a = r.postOp(n)
	if r.ok() {
		said := r.Uint32()
		eof = r.Bool()
		data := r.Opaque(want)
		if got = copy(buf, data); r.Err() == nil && uint32(got) != said {
			r.violate("a count of %d with %d bytes", said, got)
		}
		if got == 0 && want > 0 && !eof {
			r.violate("no bytes of %d, and not the end", want)
		}
	}
	return got, eof, a, r.end()
}

// Write implements vfs.FS by WRITEs of Options.WriteSize. If the verifier changes
// between two of them, what came before is not vouched for: the later part is not
// counted, and the caller, who sees a short write, sends it again.
func (c *Client) Write(ctx context.Context, w *vfs.Who, n vfs.Node, data []byte, off uint64, stable vfs.Stable) (vfs.Written, vfs.Change, error) {
	all, change, err := c.write(ctx, w, n, data, off, stable)
	for err == nil && all.Count < len(data) {
		var part vfs.Written
		var ch vfs.Change
		part, ch, err = c.write(ctx, w, n, data[all.Count:], off+uint64(all.Count), stable)
		change.After, change.HasAfter = ch.After, ch.HasAfter
		if err != nil || part.Verifier != all.Verifier {
			return all, change, nil //nolint:nilerr // a short write; the caller's next one meets the error again
		}
		all.Count += part.Count
		all.Stable = min(all.Stable, part.Stable)
	}
	return all, change, err
}

// write is one WRITE.
func (c *Client) write(ctx context.Context, w *vfs.Who, n vfs.Node, data []byte, off uint64, stable vfs.Stable) (out vfs.Written, ch vfs.Change, err error) {
	fh, err := c.handle(ctx, w, n)
	if err != nil {
		return out, ch, err
	}
	if data = data[:min(len(data), int(c.opt.WriteSize))]; len(data) == 0 {
		off = min(off, math.MaxInt64) // FBIG is for bytes
	}
	r, err := c.call(ctx, w, procWrite, args{}.handle(fh).u64(off).u32(uint32(len(data))).u32(uint32(stable)).data(data))
	if err != nil {
		return out, ch, err
	}
	ch = r.change(n)
	if r.ok() {
		out.Count, out.Stable = int(r.Uint32()), vfs.Stable(r.Uint32())
		copy(out.Verifier[:], r.Fixed(verifierLen))
		switch {
		case out.Count > len(data) || out.Count == 0 && len(data) > 0:
			r.violate("%d bytes written of %d", out.Count, len(data))
		case out.Stable > vfs.FileSync:
			r.violate("stable_how %d", out.Stable)
		case out.Stable < stable && !c.opt.Stock:
			r.violate("asked for stable_how %d, got %d", stable, out.Stable)
		}
	}
	return out, ch, r.end()
}

// Commit implements vfs.FS by COMMIT. Its count has 32 bits, and no client means an
// offset above 2^63-1: what does not fit is committed to the end.
func (c *Client) Commit(ctx context.Context, w *vfs.Who, n vfs.Node, off, count uint64) (v vfs.Verifier, ch vfs.Change, err error) {
	fh, err := c.handle(ctx, w, n)
	if err != nil {
		return v, ch, err
	}
	off = min(off, math.MaxInt64)
	if count > math.MaxUint32 {
		count = 0
	}
	r, err := c.call(ctx, w, procCommit, args{}.handle(fh).u64(off).u32(uint32(count)))
	if err != nil {
		return v, ch, err
	}
	ch = r.change(n)
	if r.ok() {
		copy(v[:], r.Fixed(verifierLen))
	}
	r.status = restore(procCommit, r.status, c.nodes.typeOf(n), nil)
	return v, ch, r.end()
}
