// Conditions that hold, or do not, in a context.

/** What requests say, by type. A key with a list has several values at once. */
export const KEYS = [
  { name: 'aws:username', type: 'text', values: ['alice', 'Alice', 'bob', 'a*'] },
  { name: 'aws:userid', type: 'text', values: ['AIDAEXAMPLE', 'AROAEXAMPLE:session-1'] },
  { name: 'aws:PrincipalTag/team', type: 'text', values: ['red', 'Red', 'blue', 'red team', '', 'a?c'] },
  { name: 'aws:PrincipalTag/Project', type: 'text', values: ['x', 'holdfast', 'über'] },
  { name: 'aws:PrincipalOrgID', type: 'text', values: ['o-exampleorg', 'o-other'] },
  { name: 'aws:RequestedRegion', type: 'text', values: ['eu-central-1', 'us-east-1'] },
  { name: 'aws:PrincipalAccount', type: 'text', values: ['111122223333', '444455556666'] },
  { name: 'aws:SourceVpce', type: 'text', values: ['vpce-1a2b3c4d', 'vpce-0'] },
  { name: 'aws:UserAgent', type: 'text', values: ['aws-cli/2.0 (x; y)', 'curl'] },
  { name: 'kms:KeySpec', type: 'text', values: ['SYMMETRIC_DEFAULT', 'RSA_2048'] },
  { name: 'kms:ViaService', type: 'text', values: ['s3.eu-central-1.amazonaws.com', 'ec2.eu-central-1.amazonaws.com'] },
  { name: 'kms:EncryptionAlgorithm', type: 'text', values: ['SYMMETRIC_DEFAULT', 'RSAES_OAEP_SHA_256'] },
  { name: 'kms:CallerAccount', type: 'text', values: ['111122223333', '444455556666'] },
  { name: 'aws:TagKeys', type: 'texts', values: ['team', 'Team', 'cost', 'stage'] },
  { name: 'kms:EncryptionContextKeys', type: 'texts', values: ['tenant', 'Tenant', 'purpose'] },
  { name: 'kms:ResourceAliases', type: 'texts', values: ['alias/one', 'alias/two', 'alias/finance/x'] },
  { name: 'aws:PrincipalOrgPaths', type: 'texts', values: ['o-a/r-b/ou-c/', 'o-a/r-b/ou-c/ou-d/', 'o-z/r-y/'] },
  { name: 'aws:CalledVia', type: 'texts', values: ['s3.amazonaws.com', 'athena.amazonaws.com'] },
  { name: 'aws:MultiFactorAuthAge', type: 'number', values: ['0', '7', '3600', '12.5', '-3'] },
  { name: 'aws:SecureTransport', type: 'boolean', values: ['true', 'false'] },
  { name: 'aws:MultiFactorAuthPresent', type: 'boolean', values: ['true', 'false'] },
  { name: 'kms:MultiRegion', type: 'boolean', values: ['true', 'false'] },
  { name: 'aws:SourceIp', type: 'address', values: ['10.1.2.3', '203.0.113.77', '2001:db8::5', '192.168.0.1'] },
  { name: 'aws:CurrentTime', type: 'date', values: ['2026-11-30T12:00:00Z', '2020-01-01T00:00:00Z', '2031-06-30T23:59:59Z'] },
  { name: 'aws:TokenIssueTime', type: 'date', values: ['2026-11-30T11:00:00Z', '2019-12-31T23:59:59Z'] },
  { name: 'aws:EpochTime', type: 'date', values: ['1796040000', '1577836800'] },
  { name: 'aws:PrincipalArn', type: 'arn', values: ['arn:aws:iam::111122223333:user/alice', 'arn:aws:iam::444455556666:role/ops/Deploy'] },
  { name: 'aws:SourceArn', type: 'arn', values: ['arn:aws:s3:::bucket', 'arn:aws:cloudtrail:eu-central-1:111122223333:trail/main'] },
]

const POSITIVE = {
  text: ['StringEquals', 'StringEqualsIgnoreCase', 'StringLike'],
  number: ['NumericEquals', 'NumericLessThan', 'NumericLessThanEquals', 'NumericGreaterThan', 'NumericGreaterThanEquals'],
  boolean: ['Bool'],
  address: ['IpAddress'],
  date: ['DateEquals', 'DateLessThan', 'DateLessThanEquals', 'DateGreaterThan', 'DateGreaterThanEquals'],
  arn: ['ArnEquals', 'ArnLike', 'StringEquals', 'StringLike'],
}
const NEGATION = {
  StringEquals: 'StringNotEquals', StringEqualsIgnoreCase: 'StringNotEqualsIgnoreCase', StringLike: 'StringNotLike',
  NumericEquals: 'NumericNotEquals', IpAddress: 'NotIpAddress', DateEquals: 'DateNotEquals',
  ArnEquals: 'ArnNotEquals', ArnLike: 'ArnNotLike',
}

const swapCase = (text) => [...text].map((c) => (c === c.toLowerCase() ? c.toUpperCase() : c.toLowerCase())).join('')

function wildcards(random, text) {
  if (text === '') return '*'
  const at = random.below(text.length)
  return random.pick([`${text.slice(0, at)}*`, `*${text.slice(at)}`, `${text.slice(0, at)}?${text.slice(at + 1)}`, '*', `${text}*`, text])
}

function wildcardArn(random, arn) {
  const parts = arn.split(':')
  const at = 1 + random.below(5)
  if (at === 5) return `${parts.slice(0, 5).join(':')}:${wildcards(random, parts.slice(5).join(':'))}`
  return parts.map((part, index) => (index === at ? random.pick(['*', part === '' ? '*' : `${part.slice(0, -1)}?`]) : part)).join(':')
}

function address(random, value) {
  if (value.includes(':')) return random.pick([value, '2001:db8::/32', '::/0', `${value}/128`, '2001:0db8:0:0:0:0:0:5'])
  const [a, b, c] = value.split('.')
  return random.pick([value, `${value}/32`, `${a}.${b}.${c}.0/24`, `${a}.${b}.0.0/16`, `${a}.0.0.0/8`, '0.0.0.0/0', `${a}.${b}.99.1/16`])
}

const seconds = (value) => (/^\d+$/.test(value) ? Number(value) : Date.parse(value) / 1000)

function moment(random, at) {
  const iso = new Date(at * 1000).toISOString()
  return random.pick([iso.replace('.000', ''), iso, String(at), iso.replace('.000Z', '+00:00'), iso.slice(0, 10) + 'T' + iso.slice(11, 19) + 'Z'])
}

/** A value of a policy that `value` matches by this operator. */
function matching(random, operator, type, value) {
  switch (operator) {
    case 'StringEquals': return value
    case 'StringEqualsIgnoreCase': return random.pick([value, swapCase(value), value.toUpperCase()])
    case 'StringLike': return wildcards(random, value)
    case 'Bool': return random.pick([value, value === 'true', value.toUpperCase()])
    case 'IpAddress': return address(random, value)
    case 'ArnEquals': case 'ArnLike': return random.pick([value, wildcardArn(random, value)])
    default: return ordered(random, operator, type, value)
  }
}

function ordered(random, operator, type, value) {
  const steps = { Equals: [0], LessThan: [1, 60], LessThanEquals: [0, 60], GreaterThan: [-1, -60], GreaterThanEquals: [0, -60] }
  const step = random.pick(steps[operator.replace(/^(Numeric|Date)/, '')])
  if (type === 'date') return moment(random, seconds(value) + step)
  const number = Number(value) + step
  return random.pick([String(number), number, Number.isInteger(number) ? `${number}.0` : `${number}0`])
}

/** Whether a value of a policy is like others of this type, without a look at the request. */
function other(random, key, operator) {
  const value = random.pick(key.values)
  return matching(random, operator.replace('Not', ''), key.type === 'texts' ? 'text' : key.type, value)
}

const VARIABLES = ['aws:username', 'aws:PrincipalTag/team', 'aws:PrincipalTag/Project', 'aws:userid', 'aws:PrincipalAccount']

/** A text with a policy variable in place of what it stands for. */
function withVariable(random, text, context) {
  const key = random.pick(VARIABLES)
  const value = context[key]
  const spelled = random.is(0.2) ? key.toUpperCase().replace('AWS:PRINCIPALTAG/', 'aws:PrincipalTag/') : key
  if (typeof value === 'string' && value !== '' && text.includes(value)) return text.replace(value, `\${${spelled}}`)
  if (value === undefined) return random.pick([`\${${spelled}, '${text.replace(/['${}]/g, '')}'}`, `\${${spelled}}`])
  return text
}

/** One operator, one key, some values; `holds` is what they are made for, not a promise. */
export function condition(random, context, holds) {
  const key = random.pick(KEYS)
  const actual = context[key.name]
  const isAbsent = actual === undefined
  if (random.is(0.1)) return ['Null', key.name, random.pick([isAbsent === holds, String(isAbsent === holds)])]
  const type = key.type === 'texts' ? 'text' : key.type
  let operator = random.pick(POSITIVE[type])
  let values
  const wantsNegation = NEGATION[operator] !== undefined && random.is(0.3)
  const present = Array.isArray(actual) ? actual : [actual]
  if (isAbsent || random.is(0.12)) {
    values = [other(random, key, operator)]
  } else if (wantsNegation !== holds) {
    values = (random.is(0.5) ? present : random.some(present)).map((value) => matching(random, operator, type, value))
  } else {
    values = [other(random, key, operator)]
  }
  while (random.is(0.3)) values.push(other(random, key, operator))
  if (operator.startsWith('String') && random.is(0.15)) values = values.map((value) => withVariable(random, String(value), context))
  if (wantsNegation) operator = NEGATION[operator]
  if (random.is(isAbsent ? 0.5 : 0.15)) operator += 'IfExists'
  const isSet = key.type === 'texts' ? random.is(0.85) : random.is(0.08)
  if (isSet) operator = random.pick(['ForAllValues:', 'ForAnyValue:']) + operator
  const name = random.is(0.15) ? swapCase(key.name.split(/[/]/)[0]) + (key.name.includes('/') ? key.name.slice(key.name.indexOf('/')) : '') : key.name
  return [operator, name, random.listed(values)]
}

/** The value of `Condition`, or nothing. */
export function conditions(random, context, holds) {
  const all = {}
  for (let left = random.pick([0, 0, 1, 1, 2, 3]); left > 0; left--) {
    const [operator, key, values] = condition(random, context, holds || random.is(0.4))
    all[operator] = { ...all[operator], [key]: values }
  }
  return Object.keys(all).length === 0 ? undefined : all
}

/** What one request says: some of the keys. */
export function context(random) {
  const said = {}
  for (const key of KEYS.filter(() => random.is(0.45))) {
    said[key.name] = key.type === 'texts' ? random.some(key.values, 3) : random.pick(key.values)
  }
  return said
}
