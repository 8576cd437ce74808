// Compares the decisions of `holdfast` with those of another evaluator over generated policies and requests.
// Usage: node differential.mjs BINARY [--cases N] [--seed N] [--shrink N]

import { generate } from './generate.mjs'
import { ours, theirs, withoutKeys } from './evaluators.mjs'
import { explain } from './explained.mjs'
import { shrink } from './shrink.mjs'

const [binary, ...rest] = process.argv.slice(2)
const option = (name, otherwise) => (rest.includes(name) ? Number(rest[rest.indexOf(name) + 1]) : otherwise)
const count = option('--cases', 6000)
const seed = option('--seed', 20261122)
const shown = option('--shrink', 5)

const isRefused = (decision) => decision.startsWith('refused')
const disagree = (own, other) => own !== other && !isRefused(own) && !isRefused(other)

const decide = async (one) => (await theirs(one)).decision

const cases = []
const others = []
for (let number = 0; number < count; number++) {
  const generated = generate(seed * 100_000 + number)
  const { decision, ignored } = await theirs(generated)
  cases.push(withoutKeys(generated, ignored))
  others.push(decision)
}
const own = ours(binary, cases)

const tally = { pairs: count, allowed: 0, explicitDeny: 0, implicitDeny: 0, refusedByBoth: 0, refusedByOne: 0 }
const explained = new Map()
const open = []
const refusals = new Map()
for (let number = 0; number < count; number++) {
  const [mine, other] = [own[number], others[number]]
  if (mine in tally) tally[mine]++
  if (isRefused(mine) || isRefused(other)) {
    tally[isRefused(mine) && isRefused(other) ? 'refusedByBoth' : 'refusedByOne']++
    const text = `holdfast ${mine.slice(0, 160)} | other ${other.slice(0, 160)}`.replace(/\d+/g, 'N')
    refusals.set(text, (refusals.get(text) ?? 0) + 1)
  } else if (mine !== other) {
    const reasons = await explain(cases[number], mine, decide)
    if (reasons === undefined) open.push(number)
    for (const reason of reasons ?? []) explained.set(reason, (explained.get(reason) ?? 0) + 1)
  }
}
console.log(JSON.stringify(tally))
for (const [reason, times] of explained) console.log(`explained ${times} times: ${reason}`)
for (const [text, times] of refusals) console.log(`refused ${times} times: ${text}`)
for (const number of open.slice(0, shown)) {
  const same = async (less, a, b) => a === own[number] && b === others[number] && (await explain(less, a, decide)) === undefined
  const least = await shrink(binary, cases[number], same)
  console.log(`case ${number}: holdfast ${own[number]}, other ${others[number]}\n${JSON.stringify(least)}`)
}
if (open.length > 0) console.log(`${open.length} disagreements without an explanation`)
process.exitCode = open.length > 0 || refusals.size > 0 || count - tally.refusedByOne - tally.refusedByBoth < Math.min(count, 5000) ? 1 : 0
