package trace

import (
	"log/slog"

	"sheaf/vfs"
	"sheaf/vfs/translator"
)

// asked is what a line says of a call's arguments: those that it had when it came.
type asked struct {
	verb          translator.Verb
	who           *vfs.Who
	node, toDir   vfs.NodeID
	name, toName  vfs.Name
	offset, count uint64
	set           *vfs.SetAttr
	how           *vfs.How
	stable        vfs.Stable
	want          vfs.AccessMask
	after         vfs.Cookie
}

func arguments(c *translator.Call) asked {
	a := asked{
		verb: c.Verb, who: c.Who, node: c.Node.ID, toDir: c.ToDir.ID, name: c.Name, toName: c.ToName,
		offset: c.Offset, count: uint64(len(c.Data)), set: c.Set, how: c.How, stable: c.Stable, want: c.Want, after: c.After,
	}
	if c.Verb == translator.Commit {
		a.count = c.Length
	}
	return a
}

// line puts the arguments into a line: verb and object, then what belongs to the verb, then who.
func (a *asked) line(to []slog.Attr) []slog.Attr {
	to = append(to, slog.String("verb", a.verb.String()))
	if a.verb != translator.Root {
		to = append(to, slog.String("node", a.node.String()))
	}
	if !a.name.IsZero() {
		to = append(to, slog.String("name", a.name.String()))
	}
	if !a.toName.IsZero() {
		to = append(to, slog.String("to_dir", a.toDir.String()), slog.String("to_name", a.toName.String()))
	}
	switch a.verb {
	case translator.SetAttr:
		to = settings(to, a.set)
	case translator.Access:
		to = append(to, slog.Int("want", int(a.want)))
	case translator.Read, translator.Commit:
		to = append(to, slog.Uint64("offset", a.offset), slog.Uint64("count", a.count))
	case translator.Write:
		to = append(to, slog.Uint64("offset", a.offset), slog.Uint64("count", a.count), slog.Int("stable", int(a.stable)))
	case translator.Make:
		to = append(to, slog.Int("type", int(a.how.Type)), slog.Int("exists", int(a.how.Exists)))
		if a.how.Type == vfs.Symlink {
			to = append(to, slog.String("target", a.how.Target))
		}
		to = settings(to, &a.how.Set)
	case translator.ReadDir:
		to = append(to, slog.Uint64("after", uint64(a.after)))
	default:
	}
	to = append(to, slog.Uint64("uid", uint64(a.who.UID)), slog.Uint64("gid", uint64(a.who.GID)))
	if a.who.Client.IsValid() {
		to = append(to, slog.String("client", a.who.Client.String()))
	}
	return to
}

// settings are the attributes that are set.
func settings(to []slog.Attr, s *vfs.SetAttr) []slog.Attr {
	if s.Has(vfs.SetMode) {
		to = append(to, slog.Int("set_mode", int(s.Mode)))
	}
	if s.Has(vfs.SetUID) {
		to = append(to, slog.Uint64("set_uid", uint64(s.UID)))
	}
	if s.Has(vfs.SetGID) {
		to = append(to, slog.Uint64("set_gid", uint64(s.GID)))
	}
	if s.Has(vfs.SetSize) {
		to = append(to, slog.Uint64("set_size", s.Size))
	}
	if s.Has(vfs.SetAtime | vfs.SetAtimeNow | vfs.SetMtime | vfs.SetMtimeNow) {
		to = append(to, slog.Bool("set_times", true))
	}
	return to
}

// results puts what a call gave into its line.
func results(to []slog.Attr, c *translator.Call, err error) []slog.Attr {
	if err != nil {
		return to
	}
	switch c.Verb {
	case translator.Root, translator.GetAttr, translator.Lookup, translator.Make, translator.Link:
		if !c.Attr.Node.IsZero() {
			to = append(to, slog.String("gave", c.Attr.Node.ID.String()), slog.Uint64("size", c.Attr.Size))
		}
	case translator.Access:
		to = append(to, slog.Int("granted", int(c.Granted)))
	case translator.Read:
		to = append(to, slog.Int("read", c.Count), slog.Bool("eof", c.EOF))
	case translator.Write:
		to = append(to, slog.Int("written", c.Written.Count), slog.Int("as_stable", int(c.Written.Stable)))
	case translator.ReadLink:
		to = append(to, slog.String("target", c.Target))
	case translator.ReadDir:
		to = append(to, slog.Bool("eof", c.EOF))
	default:
	}
	return to
}
