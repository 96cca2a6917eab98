package clusterip

import (
	"maps"
	"math"
	"math/bits"
)

// full is a word without a free bit.
const full = math.MaxUint64

// A set holds numbers, sparsely, and finds the next one it does not hold in a few look-ups however
// many it holds.
//
// Level 0 has a bit for each number, 64 to a word, and keeps only words that are not zero. Level 1
// has a bit for each word of level 0 that is full, level 2 one for each full word of level 1, and
// so on: a run of a million taken addresses is crossed in four steps, and an empty /64 costs
// nothing. At the usual filling level 1 is empty and never looked at.
//
//	level 1   …0001        word 0 of level 0 is full
//	level 0   [1111…1111]  [0010…0000]
//	numbers    0 …    63    64 …   127
type set struct {
	levels []map[number]uint64
}

// has reports whether n is in the set.
func (s *set) has(n number) bool {
	return len(s.levels) > 0 && s.levels[0][n.word()]>>n.bit()&1 == 1
}

// add puts n in and reports whether it was missing.
func (s *set) add(n number) bool {
	if s.has(n) {
		return false
	}
	for level := 0; ; level++ {
		if level == len(s.levels) {
			s.levels = append(s.levels, make(map[number]uint64))
		}
		w, bit := n.word(), n.bit()
		word := s.levels[level][w] | 1<<bit
		s.levels[level][w] = word
		if word != full {
			return true
		}
		n = w
	}
}

// remove takes n out and reports whether it was there.
func (s *set) remove(n number) bool {
	if !s.has(n) {
		return false
	}
	for level := 0; ; level++ {
		w, bit := n.word(), n.bit()
		was := s.levels[level][w]
		if word := was &^ (1 << bit); word == 0 {
			delete(s.levels[level], w)
		} else {
			s.levels[level][w] = word
		}
		if was != full {
			return true
		}
		n = w
	}
}

// next returns the smallest number from n on that is not in the set, and false where there is none
// up to the end of all numbers.
func (s *set) next(n number) (number, bool) {
	level := 0
	for ; level < len(s.levels); level++ {
		w := n.word()
		if free := ^s.levels[level][w] >> n.bit() << n.bit(); free != 0 {
			n = w.join(bits.TrailingZeros64(free))
			break
		}
		// The rest of this word is taken: go on with the next word, one level up.
		n = w.plus64(1)
	}
	for ; level > 0; level-- {
		// n is a word of the level below that has a free bit.
		if n.hi>>58 != 0 {
			return number{}, false
		}
		n = n.join(bits.TrailingZeros64(^s.levels[level-1][n]))
	}
	return n, true
}

// count returns how many numbers between first and last, both included, are in the set. It visits
// every word and is meant for the rare moment when a range appears.
func (s *set) count(first, last number) uint64 {
	if len(s.levels) == 0 {
		return 0
	}
	var sum int
	from, to := first.word(), last.word()
	for w, word := range maps.All(s.levels[0]) {
		if w.less(from) || to.less(w) {
			continue
		}
		if w == from {
			word = word >> first.bit() << first.bit()
		}
		if w == to {
			word &= full >> (63 - last.bit())
		}
		sum += bits.OnesCount64(word)
	}
	return uint64(sum)
}
