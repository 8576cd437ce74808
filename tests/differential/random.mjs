// Reproducible chance.

/** A generator of chance with the same results for the same seed. */
export function chance(seed) {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
  const below = (bound) => Math.floor(next() * bound)
  const pick = (list) => list[below(list.length)]
  const is = (probability) => next() < probability
  const some = (list, most = list.length) => {
    const rest = [...list]
    const chosen = []
    for (let left = 1 + below(Math.min(most, rest.length)); left > 0; left--) {
      chosen.push(...rest.splice(below(rest.length), 1))
    }
    return chosen
  }
  /** One value alone or in a list, several in a list. */
  const listed = (list) => (list.length === 1 && is(0.6) ? list[0] : list)
  return { next, below, pick, is, some, listed }
}
