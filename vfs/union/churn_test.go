package union

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// TestListingUnderChurn lists a directory page by page while names around the ones that stay are made,
// removed and renamed through the share and behind its back, with little memory, hardly any
// trust and cookies that collide: what stays is given exactly once, and found each time.
func TestListingUnderChurn(t *testing.T) {
	const stable, rounds, page = 150, 8, 11
	s := memShare(t, 3, nil)
	s.newIndex(t)
	s.opt.Memory, s.opt.Trust = 40*nodeBytes, time.Microsecond
	s.open(t)
	// Many names share one; but none that stays with one that comes: who has the hash of its name is
	// not remembered, so that after the table was dropped a newcomer could take it.
	s.u.hash = func(n vfs.Name) vfs.Cookie {
		c := vfs.FirstCookie + vfs.Cookie(len(n.String())*1000+int(n.String()[len(n.String())-1]))
		if !strings.HasPrefix(n.String(), "stays") {
			c += 1 << 20
		}
		return c
	}
	d := s.mk(t, s.root(t), "d", vfs.Directory).Node
	for i := range stable {
		s.mk(t, d, fmt.Sprintf("stays%d", i), vfs.Regular)
	}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	churn := func(f func(i int) error) {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				if err := f(i % 40); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	churn(func(i int) error { return s.comeAndGo(ctx, d, fmt.Sprintf("comes%d", i), fmt.Sprintf("goes%d", i)) })
	churn(func(i int) error { return s.comeAndGo(ctx, d, fmt.Sprintf("a%d", i), fmt.Sprintf("stays%d", 1000+i)) })
	churn(func(i int) error { return behind(ctx, s.vols[i%3], fmt.Sprintf("foreign%d", i)) })
	for range 2 {
		wg.Go(func() {
			defer stop()
			for range rounds {
				if err := s.listPaged(ctx, d, stable, page); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	stop()
}

// comeAndGo makes a file, renames it and removes it.
func (s *shareT) comeAndGo(ctx context.Context, d vfs.Node, a, b string) error {
	ctx = context.WithoutCancel(ctx)
	_, _, err := s.u.Make(ctx, who, d, vfs.MustName(a), &vfs.How{Type: vfs.Regular})
	if err == nil {
		_, _, err = s.u.Rename(ctx, who, d, vfs.MustName(a), d, vfs.MustName(b))
	}
	if err == nil {
		_, err = s.u.Remove(ctx, who, d, vfs.MustName(b))
	}
	if vfs.StatusOf(err) == vfs.Jukebox { // moved again and again
		return nil
	}
	return err
}

// behind makes a file in d on a volume, as another process would, and removes it.
func behind(ctx context.Context, v volume.Volume, name string) error {
	ctx = context.WithoutCancel(ctx)
	d, err := v.Root().OpenDir(ctx, vfs.MustName("d"))
	if vfs.StatusOf(err) == vfs.NoEnt {
		return nil
	}
	if err != nil {
		return err
	}
	f, _, _, err := d.Create(ctx, vfs.MustName(name), &volume.New{Mode: 0o600})
	if err == nil {
		err = errors.Join(f.Close(), d.Unlink(ctx, vfs.MustName(name)))
	}
	return errors.Join(err, d.Close())
}

// listPaged lists d by pages and wants every name that stays once, and to be found.
func (s *shareT) listPaged(ctx context.Context, d vfs.Node, stable, page int) error {
	ctx = context.WithoutCancel(ctx)
	seen := make(map[string]int)
	for after, eof := vfs.Cookie(0), false; !eof; {
		n := 0
		_, end, err := s.u.ReadDir(ctx, who, d, after, n%2 == 0, func(e *vfs.DirEntry) bool {
			if n == page {
				return false
			}
			seen[e.Name.String()]++
			after, n = e.Cookie, n+1
			return true
		})
		if err != nil && vfs.StatusOf(err) != vfs.Jukebox { // then a client asks again
			return err
		}
		eof = end
	}
	for i := range stable {
		name := fmt.Sprintf("stays%d", i)
		if seen[name] != 1 {
			return fmt.Errorf("%s was listed %d times", name, seen[name])
		}
		if i%10 == 0 {
			if _, _, err := s.u.Lookup(ctx, who, d, vfs.MustName(name)); err != nil && vfs.StatusOf(err) != vfs.Jukebox {
				return fmt.Errorf("look %s up: %w", name, err)
			}
		}
	}
	return nil
}
