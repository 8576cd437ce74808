// The two evaluators, with one form of question and one of answer.

import { execFileSync } from 'node:child_process'
import { runSimulation } from '@cloud-copilot/iam-simulate'

/** Answers of `holdfast`: `allowed`, `explicitDeny`, `implicitDeny`, or `refused: …`. */
export function ours(binary, cases) {
  const input = cases.map((one) => `${JSON.stringify(one)}\n`).join('')
  const options = { input, encoding: 'utf8', maxBuffer: 1 << 28, stdio: ['pipe', 'pipe', 'inherit'] }
  const answers = execFileSync(binary, ['policy', 'simulate', '--json', '--case', '-'], options)
  return answers.trimEnd().split('\n').map((line) => {
    const answer = JSON.parse(line)
    return answer.decision ?? `refused: ${answer.refused}`
  })
}

const WORDS = { Allowed: 'allowed', ExplicitlyDenied: 'explicitDeny', ImplicitlyDenied: 'implicitDeny' }

/** The other evaluator knows no root user: what one may is put into words. */
const EVERYTHING = { Version: '2012-10-17', Statement: { Effect: 'Allow', Action: '*', Resource: '*' } }
const identityPolicies = (one) =>
  one.principal.endsWith(':root') ? [{ name: 'root', policy: EVERYTHING }] : (one.identityPolicies ?? [])

const controls = (policies) => (policies === undefined ? [] : [{ orgIdentifier: 'account', policies }])

/** The same of the other evaluator, and which keys of the context it does not take for this action. */
export async function theirs(one) {
  const result = await runSimulation({
    request: {
      principal: one.principal,
      action: one.action,
      resource: { resource: one.resource, accountId: one.resourceAccount },
      contextVariables: one.context,
    },
    identityPolicies: identityPolicies(one),
    serviceControlPolicies: controls(one.serviceControlPolicies),
    resourceControlPolicies: [],
    resourcePolicy: one.keyPolicy,
    sessionPolicy: one.sessionPolicies?.[0]?.policy,
    permissionBoundaryPolicies: one.permissionsBoundary && [{ name: 'boundary', policy: one.permissionsBoundary }],
    vpcEndpointPolicies: one.endpointPolicy && [{ name: 'endpoint', policy: one.endpointPolicy }],
  }, {})
  if (result.resultType === 'error') return { decision: `refused: ${reasons(result.errors)}`, ignored: [] }
  if (result.resultType !== 'single') return { decision: `refused: ${result.resultType}`, ignored: [] }
  return { decision: WORDS[result.overallResult], ignored: result.result.ignoredContextKeys ?? [] }
}

function reasons(errors) {
  const found = []
  const walk = (value) => {
    if (value === null || typeof value !== 'object') return
    if (typeof value.message === 'string' && typeof value.path === 'string') found.push(`${value.path}: ${value.message}`)
    else Object.values(value).forEach(walk)
  }
  walk(errors)
  return found.length === 0 ? errors.message : [...new Set(found)].join('; ')
}

export const withoutKeys = (one, ignored) => {
  const gone = new Set(ignored.map((key) => key.toLowerCase()))
  return { ...one, context: Object.fromEntries(Object.entries(one.context).filter(([key]) => !gone.has(key.toLowerCase()))) }
}
