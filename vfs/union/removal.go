package union

// expel takes v out of the share: nothing that is asked from now on is asked of it.
func (u *Union) expel(v *vol) error {
	v.mu.Lock()
	v.removed = true
	cancel := v.cancel
	v.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	u.change(func(m *members) {
		m.all, m.online = m.all.minus(v.i), m.online.minus(v.i)
		kept := m.vols[:0]
		for _, o := range m.vols {
			if o != v {
				kept = append(kept, o)
			}
		}
		m.vols = kept
	})
	return nil
}
