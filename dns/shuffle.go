package dns

import "math/rand/v2"

// shuffle draws from 0 to n-1 in random order, without repeats: the first steps of a Fisher-Yates shuffle, which
// are undone afterwards. So an answer that takes ten of 100,000 costs ten steps.
type shuffle struct {
	order []uint32 // 0, 1, 2 and so on between two uses
	swaps []uint32 // what each step swapped its place with
}

// begin makes room for n numbers.
func (s *shuffle) begin(n int) {
	for len(s.order) < n {
		s.order = append(s.order, uint32(len(s.order)))
	}
	s.swaps = s.swaps[:0]
}

// next draws the k-th of n numbers; k counts from 0 by one.
func (s *shuffle) next(k, n int) int {
	with := uint32(k) + rand.Uint32N(uint32(n-k))
	s.order[k], s.order[with] = s.order[with], s.order[k]
	s.swaps = append(s.swaps, with)
	return int(s.order[k])
}

// end puts the numbers back.
func (s *shuffle) end() {
	for k := len(s.swaps) - 1; k >= 0; k-- {
		with := s.swaps[k]
		s.order[k], s.order[with] = s.order[with], s.order[k]
	}
}
