// Key policies in unusual spellings: which of the two evaluators refuses one, and whether that was looked at.
// Usage: node documents.mjs BINARY

import { ours, theirs } from './evaluators.mjs'
import { REVIEWED } from './reviewed.mjs'

const [binary] = process.argv.slice(2)
const KEY = 'arn:aws:kms:eu-central-1:111122223333:key/12345678-1234-1234-1234-123456789012'
const ROOT = 'arn:aws:iam::111122223333:root'
const STATEMENT = { Effect: 'Allow', Principal: { AWS: ROOT }, Action: 'kms:*', Resource: '*' }

const document = (statement, rest = {}) => ({ Version: '2012-10-17', Statement: [{ ...STATEMENT, ...statement }], ...rest })
const principal = (Principal) => document({ Principal })
const condition = (operator, key, value) => document({ Condition: { [operator]: { [key]: value } } })
const without = (name) => {
  const { [name]: _, ...rest } = STATEMENT
  return { Version: '2012-10-17', Statement: [rest] }
}

/** Each by a name, in the order of the elements of the language. */
const DOCUMENTS = {
  'Version 2008': document({}, { Version: '2008-10-17' }),
  'Version of another year': document({}, { Version: '2020-01-01' }),
  'no Version': { Statement: [STATEMENT] },
  'Id': document({}, { Id: 'key-default-1' }),
  'an empty Id': document({}, { Id: '' }),
  'one statement without a list': { Version: '2012-10-17', Statement: STATEMENT },
  'no statements': { Version: '2012-10-17', Statement: [] },
  'an unknown element': document({ Comment: 'x' }),
  'an unknown member': document({}, { Comment: 'x' }),
  'an empty Sid': document({ Sid: '' }),
  'a Sid with spaces': document({ Sid: 'Enable IAM User Permissions' }),
  'a Sid with punctuation': document({ Sid: 'Allow: a/b (c)' }),
  'Effect in lower case': document({ Effect: 'allow' }),
  'no Effect': without('Effect'),
  'no Principal': without('Principal'),
  'everybody': principal('*'),
  'everybody as AWS': principal({ AWS: '*' }),
  'everybody in a list': principal({ AWS: ['*'] }),
  'everybody among others': principal({ AWS: ['*', ROOT] }),
  'an account id': principal({ AWS: '111122223333' }),
  'a short account id': principal({ AWS: '11112222333' }),
  'a group': principal({ AWS: 'arn:aws:iam::111122223333:group/g' }),
  'a wildcard in a principal': principal({ AWS: 'arn:aws:iam::111122223333:role/*' }),
  'a unique id': principal({ AWS: 'AIDACKCEVSQ6C2EXAMPLE' }),
  'a role with a path': principal({ AWS: 'arn:aws:iam::111122223333:role/a/b/c' }),
  'a session': principal({ AWS: 'arn:aws:sts::111122223333:assumed-role/r/s' }),
  'a federated user': principal({ AWS: 'arn:aws:sts::111122223333:federated-user/f' }),
  'a service': principal({ Service: 's3.amazonaws.com' }),
  'a service of a Region': principal({ Service: ['logs.eu-central-1.amazonaws.com', 's3.amazonaws.com'] }),
  'every service': principal({ Service: '*' }),
  'a federation': principal({ Federated: 'cognito-identity.amazonaws.com' }),
  'a canonical user': principal({ CanonicalUser: '79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be' }),
  'an empty principal': principal({}),
  'an empty list of principals': principal({ AWS: [] }),
  'NotPrincipal that denies': { Version: '2012-10-17', Statement: [STATEMENT, { Effect: 'Deny', NotPrincipal: { AWS: ROOT }, Action: 'kms:Sign', Resource: '*' }] },
  'NotPrincipal that allows': { Version: '2012-10-17', Statement: [{ Effect: 'Allow', NotPrincipal: { AWS: ROOT }, Action: 'kms:Sign', Resource: '*' }] },
  'NotPrincipal of everybody': { Version: '2012-10-17', Statement: [STATEMENT, { Effect: 'Deny', NotPrincipal: '*', Action: 'kms:Sign', Resource: '*' }] },
  'every action': document({ Action: '*' }),
  'every action of every service': document({ Action: '*:*' }),
  'an action in another case': document({ Action: 'KMS:encrypt' }),
  'an action of another service': document({ Action: 's3:GetObject' }),
  'an action without service': document({ Action: 'Encrypt' }),
  'a wildcard in a service': document({ Action: 'k*:Encrypt' }),
  'an empty list of actions': document({ Action: [] }),
  'Action and NotAction': document({ NotAction: 'kms:Sign' }),
  'no Action': without('Action'),
  'no Resource': without('Resource'),
  'an ARN of a key': document({ Resource: KEY }),
  'an ARN with wildcards': document({ Resource: 'arn:aws:kms:*:*:key/*' }),
  'a short ARN': document({ Resource: 'arn:aws:kms:*' }),
  'no ARN': document({ Resource: 'key/1' }),
  'NotResource': { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Principal: '*', Action: 'kms:*', NotResource: KEY }] },
  'an empty Condition': document({ Condition: {} }),
  'an empty operator': document({ Condition: { StringEquals: {} } }),
  'an operator in another case': condition('stringequals', 'aws:username', 'a'),
  'an unknown operator': condition('StringIs', 'aws:username', 'a'),
  'Null with a boolean': condition('Null', 'aws:username', true),
  'Null with IfExists': condition('NullIfExists', 'aws:username', 'true'),
  'Null with a set operator': condition('ForAnyValue:Null', 'aws:TagKeys', 'true'),
  'Bool with a boolean': condition('Bool', 'aws:SecureTransport', true),
  'Bool with another word': condition('Bool', 'aws:SecureTransport', 'yes'),
  'a number': condition('NumericEquals', 'aws:MultiFactorAuthAge', 5),
  'a negative number': condition('NumericLessThan', 'aws:MultiFactorAuthAge', '-5.25'),
  'a number with exponent': condition('NumericEquals', 'aws:MultiFactorAuthAge', '1e3'),
  'no number': condition('NumericEquals', 'aws:MultiFactorAuthAge', 'many'),
  'a date': condition('DateLessThan', 'aws:CurrentTime', '2026-11-30T12:00:00Z'),
  'a day': condition('DateLessThan', 'aws:CurrentTime', '2026-11-30'),
  'a month': condition('DateLessThan', 'aws:CurrentTime', '2026-11'),
  'a year': condition('DateLessThan', 'aws:CurrentTime', '2026'),
  'a minute': condition('DateLessThan', 'aws:CurrentTime', '2026-11-30T12:00Z'),
  'a date without zone': condition('DateLessThan', 'aws:CurrentTime', '2026-11-30T12:00:00'),
  'a date in seconds': condition('DateLessThan', 'aws:CurrentTime', 1796040000),
  'no date': condition('DateLessThan', 'aws:CurrentTime', 'tomorrow'),
  'IPv6': condition('IpAddress', 'aws:SourceIp', ['2001:db8::/32', '2001:DB8:1234:5678::/64']),
  'no address': condition('IpAddress', 'aws:SourceIp', '10.1.2'),
  'a range too long': condition('IpAddress', 'aws:SourceIp', '10.0.0.0/33'),
  'base64 without padding': condition('BinaryEquals', 'aws:PrincipalTag/x', 'AQI'),
  'no ARN in a condition': condition('ArnEquals', 'aws:SourceArn', 'bucket'),
  'an empty list of values': condition('StringEquals', 'aws:username', []),
  'an empty value': condition('StringEquals', 'aws:username', ''),
  'a key without prefix': condition('StringEquals', 'username', 'a'),
  'a key that is unknown': condition('StringEquals', 'x:y', 'a'),
  'a variable': condition('StringEquals', 'aws:userid', '${aws:username}'),
  'half a variable': condition('StringEquals', 'aws:userid', '${aws:username'),
  'a character beyond Latin-1': document({ Sid: '✓' }),
}

const asked = { principal: ROOT, action: 'kms:Encrypt', resource: KEY, resourceAccount: '111122223333', context: {} }
let open = 0
for (const [name, keyPolicy] of Object.entries(DOCUMENTS)) {
  const one = { ...asked, keyPolicy }
  const [own] = ours(binary, [one])
  const other = await theirs(one).then(({ decision }) => decision, (error) => `refused: ${error.message}`)
  const isRefused = [own, other].map((decision) => decision.startsWith('refused'))
  if (isRefused[0] === isRefused[1]) continue
  const reviewed = REVIEWED[name]
  if (reviewed === undefined) open++
  console.log(`${name}: ${isRefused[0] ? 'holdfast' : 'the other'} refuses; ${reviewed ?? `NOT REVIEWED: ${isRefused[0] ? own : other}`}`)
}
for (const name of Object.keys(REVIEWED)) if (!(name in DOCUMENTS)) throw new Error(`there is no document \`${name}\``)
console.log(`${Object.keys(DOCUMENTS).length} documents, ${open} differences that nobody looked at`)
process.exitCode = open > 0 ? 1 : 0
