// Key policies that one of the two evaluators refuses and the other does not: why `holdfast` does as it does.

const GRAMMAR = 'IAM User Guide, Grammar of the IAM JSON policy language'
const PRINCIPAL = 'IAM User Guide, AWS JSON policy elements: Principal'
const OPERATORS = 'IAM User Guide, IAM JSON policy elements: Condition operators'
const selectsNothing = `an empty list selects nothing (${GRAMMAR}: at least one)`

export const REVIEWED = {
  'no Version': 'AWS KMS Developer Guide, Creating a key policy: a required element',
  'no statements': `a policy has at least one statement (${GRAMMAR})`,
  'no Principal': 'a key policy names principals (AWS KMS Developer Guide, Creating a key policy: a required element)',
  'a short account id': `an account id has twelve digits (${PRINCIPAL})`,
  'a group': `a group is no principal (${PRINCIPAL})`,
  'a wildcard in a principal': `a wildcard stands for no part of a principal (${PRINCIPAL})`,
  'a unique id': 'AWS KMS refuses a principal that is not there, and a unique id is shown for one that was deleted',
  'every service': `a service is named in full (${PRINCIPAL})`,
  'a canonical user': `a canonical user id is for Amazon S3 (${PRINCIPAL})`,
  'an empty principal': selectsNothing,
  'an empty list of principals': selectsNothing,
  'NotPrincipal that allows': 'with Allow it is not supported (IAM User Guide, AWS JSON policy elements: NotPrincipal)',
  'an empty list of actions': selectsNothing,
  'no ARN': `a resource is \`*\` or an ARN (${GRAMMAR})`,
  'an empty operator': `an operator has a key (${GRAMMAR})`,
  'an unknown operator': `there is no such operator (${OPERATORS})`,
  'Null with IfExists': `\`IfExists\` is for every operator but \`Null\` (${OPERATORS})`,
  'Null with a set operator': `\`Null\` asks about the key, not about its values (${OPERATORS})`,
  'Bool with another word': `a Boolean is \`true\` or \`false\` (${OPERATORS})`,
  'a number with exponent': `a number is an integer or a decimal (${OPERATORS})`,
  'no number': `a number is an integer or a decimal (${OPERATORS})`,
  'a date without zone': `a date is one of W3C's forms, where a time has a zone (${OPERATORS})`,
  'no date': `a date is one of W3C's forms, or in seconds (${OPERATORS})`,
  'no address': `an address is in CIDR format (${OPERATORS})`,
  'a range too long': `an address is in CIDR format (${OPERATORS})`,
  'base64 without padding': `a binary value is Base64 (${OPERATORS}), which has padding (RFC 4648)`,
  'no ARN in a condition': `an ARN has its components (${OPERATORS})`,
  'an empty list of values': selectsNothing,
  'a key without prefix': `a condition key has a prefix (${GRAMMAR})`,
  'half a variable': 'it would never stand for anything (IAM User Guide, IAM policy elements: Variables and tags)',
  'a character beyond Latin-1': 'AWS KMS Developer Guide, Creating a key policy: Basic Latin and Latin-1 Supplement',
}
