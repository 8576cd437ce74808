// Cuts a case down while the two evaluators still disagree about it.

import { ours, theirs } from './evaluators.mjs'

/** Without these a case is another one. */
const NEEDED = new Set(['principal', 'action', 'resource', 'resourceAccount', 'context', 'keyPolicy'])

/** Without these a statement is another one. */
const ELEMENTS = new Set(['Effect', 'Principal', 'NotPrincipal', 'Action', 'NotAction', 'Resource', 'NotResource', 'Version'])

/** Everything that a value could become by leaving one part out. */
function* smaller(value, depth = 0) {
  if (Array.isArray(value)) {
    if (value.length > 1) for (let at = 0; at < value.length; at++) yield value.filter((_, index) => index !== at)
    if (value.length === 1 && typeof value[0] !== 'object') yield value[0]
    for (let at = 0; at < value.length; at++) {
      for (const less of smaller(value[at], depth + 1)) yield value.map((item, index) => (index === at ? less : item))
    }
  } else if (value !== null && typeof value === 'object') {
    for (const key of Object.keys(value)) {
      const { [key]: inner, ...rest } = value
      if (!ELEMENTS.has(key)) yield rest
      for (const less of smaller(inner, depth + 1)) yield { ...value, [key]: less }
    }
  }
}

export async function shrink(binary, one, disagree) {
  let least = one
  for (let round = 0; round < 200; round++) {
    const candidates = [...smaller(least)].filter((less) => Object.keys(least).every((key) => key in less || !NEEDED.has(key)))
    const decided = candidates.length === 0 ? [] : ours(binary, candidates)
    let found
    for (let at = 0; at < candidates.length && found === undefined; at++) {
      const { decision, ignored } = await theirs(candidates[at]).catch(() => ({ decision: 'refused: crash', ignored: [] }))
      if (ignored.length === 0 && (await disagree(candidates[at], decided[at], decision))) found = candidates[at]
    }
    if (found === undefined) return least
    least = found
  }
  return least
}
