// Requests and policies, made from a seed: about half of them allowed.

import { chance } from './random.mjs'
import { conditions, context } from './conditions.mjs'

const OWN = '111122223333'
const OTHER = '444455556666'
const KEY_ID = '12345678-1234-1234-1234-123456789012'
const KEY = `arn:aws:kms:eu-central-1:${OWN}:key/${KEY_ID}`
const ACTIONS = ['kms:Encrypt', 'kms:Decrypt', 'kms:GenerateDataKey', 'kms:GenerateDataKeyWithoutPlaintext', 'kms:DescribeKey', 'kms:ReEncryptFrom', 'kms:Sign', 'kms:CreateGrant']

const callers = (account) => [
  `arn:aws:iam::${account}:user/alice`,
  `arn:aws:iam::${account}:user/team/bob`,
  `arn:aws:iam::${account}:role/Deploy`,
  `arn:aws:iam::${account}:root`,
  `arn:aws:sts::${account}:assumed-role/Deploy/session-1`,
  `arn:aws:sts::${account}:assumed-role/Deploy/alice@example.com`,
]
const SERVICES = ['s3.amazonaws.com', 'logs.eu-central-1.amazonaws.com']
const OTHERS = [
  `arn:aws:iam::${OWN}:user/carol`, `arn:aws:iam::${OTHER}:user/dave`, `arn:aws:iam::${OWN}:role/Audit`,
  `arn:aws:sts::${OWN}:assumed-role/Deploy/session-2`, '777788889999', 'arn:aws:iam::777788889999:root',
]

const accountOf = (caller) => (caller.startsWith('arn:') ? caller.split(':')[4] : undefined)
const isSession = (caller) => caller.includes(':assumed-role/')
const roleOf = (session) => `arn:aws:iam::${accountOf(session)}:role/${session.split('/')[1]}`

/** Every entry among the AWS principals that means the caller, other than `*`. */
function namesOf(caller) {
  const account = accountOf(caller)
  return [caller, account, `arn:aws:iam::${account}:root`, ...(isSession(caller) ? [roleOf(caller)] : [])]
}

function principal(random, caller, isMeant) {
  if (!isMeant) return random.pick([{ AWS: random.listed(random.some(OTHERS, 3)) }, { Service: 'ec2.amazonaws.com' }])
  if (random.is(0.08)) return random.pick(['*', { AWS: '*' }, { AWS: ['*'] }])
  if (accountOf(caller) === undefined) return { Service: random.listed([caller, ...(random.is(0.3) ? ['ec2.amazonaws.com'] : [])]) }
  const entries = random.some(namesOf(caller), 2)
  if (random.is(0.25)) entries.push(random.pick(OTHERS))
  const named = { AWS: random.listed([...new Set(entries)]) }
  return random.is(0.1) ? { ...named, Service: 's3.amazonaws.com' } : named
}

function actionPattern(random, action) {
  const at = 5 + random.below(action.length - 5)
  return random.pick([action, action, 'kms:*', '*', action.toLowerCase(), action.toUpperCase(), `${action.slice(0, at)}*`, `${action.slice(0, at)}?${action.slice(at + 1)}`, `kms:*${action.slice(at)}`])
}

function actions(random, action, isMeant) {
  const foreign = ['kms:ScheduleKeyDeletion', 's3:GetObject', 'kms:Put*', 'kms:?', 'ec2:*']
  if (random.is(0.15)) {
    return { NotAction: random.listed(isMeant ? random.some(foreign, 2) : [actionPattern(random, action), random.pick(foreign)]) }
  }
  const listed = isMeant ? [actionPattern(random, action), ...(random.is(0.3) ? [random.pick(foreign)] : [])] : random.some(foreign, 2)
  return { Action: random.listed(listed) }
}

function resources(random, resource, isMeant) {
  const foreign = [`arn:aws:kms:eu-central-1:${OWN}:key/00000000-*`, 'arn:aws:s3:::bucket/*', `arn:aws:kms:*:${OTHER}:alias/*`, `arn:aws:kms:us-?ast-1:${OWN}:key/*`]
  const own = resource === '*' ? ['*'] : ['*', resource, `arn:aws:kms:*:${OWN}:key/*`, `arn:aws:kms:eu-central-1:*:key/${KEY_ID}`, `arn:aws:kms:eu-central-?:${OWN}:key/12*`, 'arn:aws:kms:*:*:*', 'arn:*:kms:*:*:key/?2345678-*', `arn:aws:kms:eu-central-1:\${aws:PrincipalAccount}:key/*`]
  if (random.is(0.12) && resource !== '*') {
    return { NotResource: random.listed(isMeant ? random.some(foreign, 2) : [random.pick(own.slice(1))]) }
  }
  return { Resource: random.listed(isMeant ? [random.pick(own), ...(random.is(0.25) ? [random.pick(foreign)] : [])] : random.some(foreign, 2)) }
}

/** A statement that is made to apply, or not; where it is not, one element is wrong. */
function statement(random, request, effect, isMeant, kind) {
  const wrong = isMeant ? 'none' : random.pick(kind === 'key' ? ['principal', 'action', 'condition'] : ['action', 'resource', 'condition'])
  const made = { Effect: effect, ...actions(random, request.action, wrong !== 'action') }
  if (kind === 'key') {
    made.Resource = random.is(0.85) ? '*' : random.pick([request.resource, 'arn:aws:kms:*:*:key/*'])
    if (effect === 'Deny' && random.is(0.25)) {
      made.NotPrincipal = notPrincipal(random, request.principal, wrong !== 'principal')
    } else {
      made.Principal = principal(random, request.principal, wrong !== 'principal')
    }
  } else {
    Object.assign(made, resources(random, request.resource, wrong !== 'resource'))
    if (kind === 'endpoint') made.Principal = '*'
  }
  const tested = conditions(random, request.context, wrong !== 'condition')
  if (tested !== undefined && random.is(wrong === 'condition' ? 1 : 0.55)) made.Condition = tested
  return made
}

function notPrincipal(random, caller, isMeant) {
  if (isMeant) return { AWS: random.listed(random.some(OTHERS, 3)) }
  if (accountOf(caller) === undefined) return { Service: caller, AWS: random.pick(OTHERS) }
  return { AWS: [...new Set([caller, ...(isSession(caller) ? [roleOf(caller)] : []), `arn:aws:iam::${accountOf(caller)}:root`].filter(() => random.is(0.8)).concat(random.pick([caller, OTHERS[0]])))] }
}

/** A policy of a kind, made to allow the request or to say nothing about it. */
function policy(random, request, allows, kind) {
  const statements = []
  if (allows) statements.push(statement(random, request, 'Allow', true, kind))
  while (random.is(0.35)) statements.push(statement(random, request, 'Allow', random.is(0.2), kind))
  while (random.is(0.22)) statements.push(statement(random, request, 'Deny', random.is(0.12), kind))
  if (statements.length === 0) statements.push(statement(random, request, 'Allow', false, kind))
  statements.sort(() => random.next() - 0.5)
  statements.forEach((made, index) => random.is(0.4) && (made.Sid = `S${index}`))
  const version = random.is(0.93) ? { Version: '2012-10-17' } : { Version: '2008-10-17' }
  return { ...version, Statement: statements.length === 1 && random.is(0.3) ? statements[0] : statements }
}

function named(random, request, allows, kind, most) {
  const documents = [policy(random, request, allows, kind)]
  while (documents.length < most && random.is(0.35)) documents.push(policy(random, request, random.is(0.3), kind))
  return documents.map((document, index) => ({ name: `${kind}-${index}`, policy: document }))
}

/** One case, in the members that `holdfast policy simulate --case` takes. */
export function generate(seed) {
  const random = chance(seed)
  const isForeign = random.is(0.25)
  const isService = random.is(0.06)
  const caller = isService ? random.pick(SERVICES) : random.pick(callers(isForeign ? OTHER : OWN))
  const isOnKey = random.is(0.94)
  const request = {
    principal: caller,
    action: isOnKey ? random.pick(ACTIONS) : random.pick(['kms:ListKeys', 'kms:CreateKey', 'kms:GenerateRandom']),
    resource: isOnKey ? KEY : '*',
    context: context(random),
  }
  const succeeds = () => random.is(0.93)
  const made = { ...request, resourceAccount: isOnKey ? OWN : accountOf(caller) ?? OWN }
  if (isOnKey) made.keyPolicy = policy(random, request, succeeds(), 'key')
  const isIdentity = !isService && !caller.endsWith(':root')
  if (isIdentity && random.is(0.95)) made.identityPolicies = named(random, request, succeeds(), 'identity', 3)
  if (isIdentity && random.is(0.2)) made.permissionsBoundary = policy(random, request, succeeds(), 'boundary')
  if (isSession(caller) && random.is(0.35)) made.sessionPolicies = named(random, request, succeeds(), 'session', 1)
  if (!isService && random.is(0.2)) made.serviceControlPolicies = named(random, request, succeeds(), 'control', 2)
  if (random.is(0.15)) made.endpointPolicy = policy(random, request, succeeds(), 'endpoint')
  return made
}
