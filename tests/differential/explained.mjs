// Where the two evaluators disagree and the documentation of AWS decides.
//
// An entry says the same request in other words, which the other evaluator understands as AWS documents it. Only if it
// then decides as `holdfast` did is the disagreement explained.

/** Applies `change` to each statement of each policy of a case. */
function statements(one, change) {
  const policy = (document) => {
    if (document === undefined) return undefined
    const all = Array.isArray(document.Statement) ? document.Statement : [document.Statement]
    return { ...document, Statement: all.map((statement) => change(statement, document)) }
  }
  const list = (policies) => policies?.map((named) => ({ ...named, policy: policy(named.policy) }))
  return {
    ...one,
    keyPolicy: policy(one.keyPolicy),
    identityPolicies: list(one.identityPolicies),
    permissionsBoundary: policy(one.permissionsBoundary),
    sessionPolicies: list(one.sessionPolicies),
    serviceControlPolicies: list(one.serviceControlPolicies),
    endpointPolicy: policy(one.endpointPolicy),
  }
}

/** Applies `change` to every text of a value. */
function texts(value, change) {
  if (typeof value === 'string') return change(value)
  if (Array.isArray(value)) return value.map((item) => texts(item, change))
  if (value === null || typeof value !== 'object') return value
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, texts(inner, change)]))
}

/** Applies `change` to each operator of each condition, with its keys. */
const operators = (one, change) => statements(one, (statement) => {
  if (statement.Condition === undefined) return statement
  return { ...statement, Condition: Object.fromEntries(Object.entries(statement.Condition).map(([operator, keys]) => [operator, change(operator, keys)])) }
})

/** Exchanges each operator of each condition of a Deny, with its keys, for others. */
const denials = (one, change) => statements(one, (statement) => {
  if (statement.Effect !== 'Deny' || statement.Condition === undefined) return statement
  const Condition = {}
  for (const [operator, keys] of Object.entries(statement.Condition).flatMap(([operator, keys]) => change(operator, keys))) {
    if (Object.keys(keys).length > 0) Condition[operator] = { ...Condition[operator], ...keys }
  }
  return { ...statement, Condition }
})

const MULTIVALUED = new Set(['aws:calledvia', 'aws:principalorgpaths', 'aws:principalservicenameslist', 'aws:resourceorgpaths', 'aws:sourceorgpaths',
  'aws:tagkeys', 'kms:encryptioncontextkeys', 'kms:grantoperations', 'kms:resourcealiases'])

const listOf = (value) => (Array.isArray(value) ? value : [value])
const eachValue = (keys, change) => Object.fromEntries(Object.entries(keys).map(([key, values]) => [key, listOf(values).map(change)]))
const isEpoch = (value) => /^-?\d{5,}(\.\d+)?$/.test(String(value))
const asDate = (value) => (isEpoch(value) ? new Date(Number(value) * 1000).toISOString() : value)

const accountOf = (arn) => arn.split(':')[4]

export const EXPLAINED = [
  {
    name: 'dates in seconds since 1970',
    page: 'IAM User Guide, IAM JSON policy elements: Condition operators, Date condition operators',
    phrase: 'or in epoch (UNIX) time',
    text: 'A date condition compares dates in seconds since 1970 with dates in words; the other tool compares each only with its like.',
    rewrite: (one) => ({
      ...operators(one, (operator, keys) => (operator.includes('Date') ? eachValue(keys, asDate) : keys)),
      context: { ...one.context, ...(one.context['aws:EpochTime'] && { 'aws:EpochTime': asDate(one.context['aws:EpochTime']) }) },
    }),
  },
  {
    name: 'an account in NotPrincipal',
    page: 'IAM User Guide, IAM JSON policy elements: NotPrincipal',
    phrase: 'all principals except the user named Bob',
    text: 'An account that stands in `NotPrincipal` beside one of its users spares its root user, not its other users and roles; the other tool spares all of them.',
    rewrite: (one) => {
      const isOfAccount = (entry) => entry === accountOf(one.principal) || entry.endsWith(`${accountOf(one.principal)}:root`)
      if (!one.principal.startsWith('arn:') || one.principal.endsWith(':root')) return one
      return statements(one, (statement) => {
        if (statement.NotPrincipal?.AWS === undefined) return statement
        const rest = listOf(statement.NotPrincipal.AWS).filter((entry) => !isOfAccount(entry))
        return { ...statement, NotPrincipal: { ...statement.NotPrincipal, AWS: rest.length === 0 ? ['777788889999'] : rest } }
      })
    },
  },
  {
    name: 'a session named by its own ARN',
    page: 'IAM User Guide, Policy evaluation for requests within a single account',
    phrase: 'not limited by an implicit deny',
    text: 'A key policy that names a role session by its ARN lets it in whatever session policies leave out; the other tool cuts down every session by its session policies.',
    rewrite: (one) => {
      const names = listOf(one.keyPolicy?.Statement ?? []).some((statement) => {
        return statement.Effect === 'Allow' && listOf(statement.Principal?.AWS ?? []).includes(one.principal)
      })
      if (!names || !one.principal.includes(':assumed-role/') || accountOf(one.principal) !== one.resourceAccount) return one
      const open = { Effect: 'Allow', Action: '*', Resource: '*' }
      return { ...one, sessionPolicies: one.sessionPolicies?.map(({ name, policy }) => ({ name, policy: { ...policy, Statement: [...listOf(policy.Statement), open] } })) }
    },
  },
  {
    name: 'every address',
    page: 'IAM User Guide, IAM JSON policy elements: Condition operators, IP address condition operators',
    phrase: 'standard CIDR format',
    text: '`0.0.0.0/0` is every IPv4 address; the other tool holds that it is none.',
    rewrite: (one) => operators(one, (operator, keys) => {
      const spell = (values) => listOf(values).flatMap((value) => (value === '0.0.0.0/0' ? ['0.0.0.0/1', '128.0.0.0/1'] : [value]))
      if (!/IpAddress/.test(operator)) return keys
      return Object.fromEntries(Object.entries(keys).map(([key, values]) => [key, spell(values)]))
    }),
  },
  {
    name: 'addresses in long spelling',
    page: 'IAM User Guide, IAM JSON policy elements: Condition operators, IP address condition operators',
    phrase: 'standard CIDR format',
    text: 'An IPv6 address is the same however it is spelled; the other tool compares a long spelling without a range with nothing.',
    rewrite: (one) => operators(one, (operator, keys) => {
      const spell = (value) => (value === '2001:0db8:0:0:0:0:0:5' ? '2001:db8::5' : value)
      return /IpAddress/.test(operator) ? eachValue(keys, spell) : keys
    }),
  },
  {
    name: 'addresses of the other family',
    page: 'IAM User Guide, IAM JSON policy elements: Condition operators, IP address condition operators',
    phrase: 'All IP addresses except the specified',
    text: 'An IPv4 address is none of a range of IPv6 addresses, so that `NotIpAddress` holds; the other tool holds that such a condition never does.',
    rewrite: (one) => {
      const said = Object.entries(one.context).find(([key]) => key.toLowerCase() === 'aws:sourceip')?.[1]
      const isLike = (value) => String(value).includes(':') === String(said).includes(':')
      const unrelated = String(said).includes(':') ? '2001:db8:ffff::1' : '192.0.2.255'
      return operators(one, (operator, keys) => {
        if (said === undefined || !operator.includes('NotIpAddress')) return keys
        const spell = (values) => [...listOf(values).filter(isLike), unrelated]
        return Object.fromEntries(Object.entries(keys).map(([key, values]) => [key, spell(values)]))
      })
    },
  },
  {
    name: 'variables in the older version',
    page: 'IAM User Guide, IAM JSON policy elements: Version',
    phrase: 'treated as literal strings',
    text: 'In a policy without `Version` 2012-10-17, `${…}` is text and compared as such; the other tool holds that nothing compares with it, also under a negated operator.',
    rewrite: (one) => statements(one, (statement, { Version }) => {
      return Version === '2012-10-17' ? statement : texts(statement, (text) => text.replaceAll('${', '#{'))
    }),
  },
  {
    name: 'a variable whose default is empty',
    page: 'IAM User Guide, IAM policy elements: Variables and tags',
    phrase: 'surround the default value with single quotes',
    text: 'A default may be the empty text; the other tool takes it for none.',
    rewrite: (one) => {
      const present = new Set(Object.keys(one.context).map((key) => key.toLowerCase()))
      const spell = (text) => text.replace(/\$\{([^,}]+), ''\}/g, (whole, key) => (present.has(key.toLowerCase()) ? whole : ''))
      return statements(one, (statement, { Version }) => (Version === '2012-10-17' ? texts(statement, spell) : statement))
    },
  },
  {
    name: 'everybody, and a permissions boundary',
    page: 'IAM User Guide, Permissions boundaries for IAM entities, Resource-based policies',
    phrase: 'grant permissions to an IAM user ARN',
    text: 'Only a key policy that names a user or a role session by its own ARN goes past a permissions boundary and session policies; one that names everybody (`*`) does not. The other tool lets `*` go past the boundary.',
    rewrite: (one) => {
      const { keyPolicy, permissionsBoundary, principal } = one
      if (keyPolicy === undefined || permissionsBoundary === undefined || accountOf(principal) !== one.resourceAccount) return one
      const isEverybody = (named) => named === '*' || listOf(named?.AWS ?? []).includes('*')
      const account = { AWS: accountOf(principal) }
      const spell = (statement) => (statement.Effect === 'Allow' && isEverybody(statement.Principal) ? { ...statement, Principal: account } : statement)
      const everything = { Version: '2012-10-17', Statement: { Effect: 'Allow', Action: '*', Resource: '*' } }
      return {
        ...one,
        keyPolicy: { ...keyPolicy, Statement: listOf(keyPolicy.Statement).map(spell) },
        identityPolicies: [...(one.identityPolicies ?? []), { name: 'everything', policy: everything }],
      }
    },
  },
  {
    name: 'a key with several values, under a plain operator in a Deny',
    page: 'IAM User Guide, Single-valued vs. multivalued context keys',
    phrase: 'require a condition set operator',
    text: 'A plain operator on a key with several values is not defined. In an Allow it never holds, as with the other tool; in a Deny it holds if it does so for any of the values, so that a Deny is never the narrower for it.',
    rewrite: (one) => denials(one, (operator, keys) => {
      const isPlain = !/^For|^Null/i.test(operator)
      const several = Object.keys(keys).filter((key) => isPlain && MULTIVALUED.has(key.toLowerCase()))
      const rest = Object.fromEntries(Object.entries(keys).filter(([key]) => !several.includes(key)))
      const quantified = Object.fromEntries(Object.entries(keys).filter(([key]) => several.includes(key)))
      return [[operator, rest], [`ForAnyValue:${operator}`, quantified]]
    }),
  },
  {
    name: 'a pattern that is no whole ARN, in a Deny',
    page: 'IAM User Guide, IAM JSON policy elements: Condition operators, ARN condition operators',
    phrase: 'six colon-delimited components',
    text: 'A pattern of fewer than six components is compared with nothing in an Allow, as with the other tool; in a Deny `*` is every ARN, and a component that ends in `*` is all that follow.',
    rewrite: (one) => denials(one, (operator, keys) => {
      const whole = (value) => {
        const parts = String(value).split(':')
        return parts.length >= 6 || !String(value).endsWith('*') ? value : [...(value === '*' ? ['arn'] : parts), ...Array(6).fill('*')].slice(0, 6).join(':')
      }
      return [[operator, operator.includes('Arn') ? eachValue(keys, whole) : keys]]
    }),
  },
  {
    name: 'a variable without a value in a Deny',
    page: 'IAM User Guide, IAM policy elements: Variables and tags, Policy variables with no value',
    phrase: 'do match against a null value',
    text: 'A negated operator holds against a variable that has no value, so that a Deny denies; the other tool holds that nothing compares with it. In an Allow, `holdfast` holds so too.',
    rewrite: (one) => {
      const present = new Set(Object.keys(one.context).map((key) => key.toLowerCase()))
      const spell = (text) => text.replace(/\$\{([^,}]+)\}/g, (whole, key) => (present.has(key.toLowerCase()) ? whole : `#{${key}}`))
      return statements(one, (statement, { Version }) => {
        if (statement.Effect !== 'Deny' || Version !== '2012-10-17' || statement.Condition === undefined) return statement
        const said = Object.entries(statement.Condition).map(([operator, keys]) => [operator, operator.includes('Not') ? texts(keys, spell) : keys])
        return { ...statement, Condition: Object.fromEntries(said) }
      })
    },
  },
]

/** The names of the explanations without which the other evaluator would decide differently. */
export async function explain(one, own, decide) {
  for (const { name, rewrite } of EXPLAINED) {
    if (await decide(rewrite(one)) === own) return [name]
  }
  const all = EXPLAINED.reduce((said, { rewrite }) => rewrite(said), one)
  if (await decide(all) !== own) return undefined
  const needed = []
  for (const { name } of EXPLAINED) {
    const without = EXPLAINED.filter((entry) => entry.name !== name).reduce((said, { rewrite }) => rewrite(said), one)
    if (await decide(without) !== own) needed.push(name)
  }
  return needed.length === 0 ? ['several at once'] : needed
}
