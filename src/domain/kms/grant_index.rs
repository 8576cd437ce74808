//! The grants of one key in memory: which of them permits a request, however many there are.

use std::collections::BTreeSet;
use std::collections::hash_map::{Entry, HashMap, RandomState};
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use crate::domain::kms::grant_condition::{Condition, ContextCondition, Pairs};
use crate::domain::kms::{
    AccountId, EncryptionContext, Grant, GrantConstraints, GrantId, GrantOperation, GrantOperations,
    GrantPrincipal,
};

/// The grants of one key. What is looked up is a hash of everything that has to match, and what is found is compared:
/// the number of grants costs nothing, and a collision only time.
///
/// A grant with `EncryptionContextSubset` is found by one of its pairs, the one that fewest others are found by.
#[derive(Debug, Default)]
pub struct GrantIndex {
    hasher: RandomState,
    grants: Vec<Option<Arc<KnownGrant>>>,
    free: Vec<u32>,
    /// By id, and by grantee, operation and condition.
    slots: HashMap<u64, Numbers>,
    /// The subset conditions of a grantee that are found by one pair.
    by_pair: HashMap<u64, Vec<Pairs>>,
    /// How many grants need a subset condition, and which of its pairs it is found by.
    subsets: HashMap<u64, Subset>,
}

/// A grant as far as decisions need it.
#[derive(Debug, PartialEq, Eq)]
pub struct KnownGrant {
    pub id: GrantId,
    grantee: Grantee,
    operations: GrantOperations,
    condition: Condition,
}

/// Who asks, by all the names that a grant may have for them.
#[derive(Clone, Copy, Debug)]
pub struct GrantRequester<'a> {
    pub own: RequesterName<'a>,
    /// The ARN of the role of a session.
    pub role: Option<&'a str>,
    /// Of whoever belongs to one.
    pub account: Option<&'a AccountId>,
}

#[derive(Clone, Copy, Debug)]
pub enum RequesterName<'a> {
    /// An ARN.
    Principal(&'a str),
    /// The name of a service that calls by itself.
    Service(&'a str),
}

/// By which of these names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantedTo {
    /// The whole account, whose identity policies decide.
    Account,
    Itself,
    ItsRole,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct GrantQuestion<'a> {
    pub operation: GrantOperation,
    pub encryption_context: &'a EncryptionContext,
    /// `aws:SourceArn` of the request.
    pub source_arn: Option<&'a str>,
}

/// A grant that permits what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    pub grant: Arc<KnownGrant>,
    pub to: GrantedTo,
}

/// Whom a grant is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Grantee {
    Account(Box<str>),
    Principal(Box<str>),
    Service(Box<str>),
}

/// What a grant is looked up for.
#[derive(Clone, Copy, Hash)]
enum Purpose {
    /// To hand on no more than it gives.
    Parent,
    Use(GrantOperation),
}

/// What is hashed.
#[derive(Hash)]
enum Slot<'a> {
    Id(&'a str),
    /// Grantee, purpose, source.
    Any(u64, Purpose, Option<&'a str>),
    Equals(u64, Purpose, Option<&'a str>, &'a [u8]),
    Subset(u64, Purpose, Option<&'a str>, &'a [u8]),
    /// A subset condition of a grantee.
    Registered(u64, Option<&'a str>, &'a [u8]),
    /// A pair of a subset condition of a grantee.
    Pair(u64, Option<&'a str>, &'a str, &'a str),
}

/// Grants that are found in the same place.
#[derive(Debug)]
enum Numbers {
    One(u32),
    Many(BTreeSet<u32>),
}

#[derive(Debug)]
struct Subset {
    grants: u32,
    /// The slot of the pair.
    pair: u64,
}

/// What grants are compared with: a request, or the conditions of a grant that is to be handed on.
struct Circumstances<'a> {
    purpose: Purpose,
    /// Absent where contexts do not count.
    context: Option<&'a EncryptionContext>,
    /// The whole context, where grants may demand that it is the whole.
    whole: Option<Pairs>,
    source_arn: Option<&'a str>,
}

impl GrantIndex {
    pub fn new(grants: impl IntoIterator<Item = Grant>) -> Self {
        let mut index = Self::default();
        grants.into_iter().for_each(|grant| index.insert(&grant));
        index
    }

    /// How many grants there are.
    pub fn len(&self) -> usize {
        self.grants.len() - self.free.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a grant, unless one of this id is there.
    pub fn insert(&mut self, grant: &Grant) {
        if self.number(&grant.id).is_some() {
            return;
        }
        let known = Arc::new(KnownGrant::of(grant));
        let number = self.free.pop().unwrap_or_else(|| {
            self.grants.push(None);
            u32::try_from(self.grants.len() - 1).unwrap_or(u32::MAX)
        });
        for slot in self.slots_of(&known) {
            match self.slots.entry(slot) {
                Entry::Occupied(mut numbers) => numbers.get_mut().insert(number),
                Entry::Vacant(vacant) => drop(vacant.insert(Numbers::One(number))),
            }
        }
        self.register(&known);
        if let Some(place) = usize::try_from(number).ok().and_then(|number| self.grants.get_mut(number)) {
            *place = Some(known);
        }
    }

    /// Removes a grant, if it is there.
    pub fn remove(&mut self, id: &GrantId) {
        let Some(number) = self.number(id) else { return };
        let place = usize::try_from(number).ok().and_then(|number| self.grants.get_mut(number));
        let Some(known) = place.and_then(Option::take) else { return };
        self.free.push(number);
        for slot in self.slots_of(&known) {
            let Entry::Occupied(mut numbers) = self.slots.entry(slot) else { continue };
            if numbers.get_mut().remove(number) {
                numbers.remove();
            }
        }
        self.unregister(&known);
    }

    /// A grant that permits this to whoever asks: one that names them rather than one for their role, and that rather
    /// than one for their account.
    pub fn permits(&self, requester: GrantRequester<'_>, question: GrantQuestion<'_>) -> Option<Permit> {
        let takes_context = question.operation.takes_encryption_context();
        self.find(
            requester,
            &Circumstances {
                purpose: Purpose::Use(question.operation),
                context: takes_context.then_some(question.encryption_context),
                whole: takes_context.then(|| Pairs::of(question.encryption_context)),
                source_arn: question.source_arn,
            },
        )
    }

    /// A grant of whoever asks that lets them make another one with these operations and constraints: nothing that
    /// it does not give itself, and under constraints as strict or stricter.
    pub fn parent(
        &self,
        requester: GrantRequester<'_>,
        operations: &[GrantOperation],
        constraints: &GrantConstraints,
    ) -> Option<Permit> {
        let GrantConstraints { context_equals, context_subset, source_arn } = constraints;
        if let (Some(equals), Some(subset)) = (context_equals, context_subset)
            && !equals.includes(subset)
        {
            // It could never be used, and is stricter than anything.
            return None;
        }
        let circumstances = Circumstances {
            purpose: Purpose::Parent,
            context: context_equals.as_ref().or(context_subset.as_ref()),
            whole: context_equals.as_ref().map(Pairs::of),
            source_arn: source_arn.as_deref(),
        };
        let operations: GrantOperations = operations.iter().copied().collect();
        let covers = |known: &KnownGrant| known.operations.includes(operations);
        self.search(requester, &circumstances, &covers)
    }

    fn find(&self, requester: GrantRequester<'_>, circumstances: &Circumstances<'_>) -> Option<Permit> {
        self.search(requester, circumstances, &|_| true)
    }

    fn search(
        &self,
        requester: GrantRequester<'_>,
        circumstances: &Circumstances<'_>,
        accept: &dyn Fn(&KnownGrant) -> bool,
    ) -> Option<Permit> {
        if self.is_empty() {
            return None;
        }
        let own = match requester.own {
            RequesterName::Principal(arn) => Grantee::Principal(Box::from(arn)),
            RequesterName::Service(name) => Grantee::Service(Box::from(name)),
        };
        let role = requester.role.map(|arn| Grantee::Principal(Box::from(arn)));
        let account = requester.account.map(|account| Grantee::Account(Box::from(account.as_str())));
        let names =
            [(Some(own), GrantedTo::Itself), (role, GrantedTo::ItsRole), (account, GrantedTo::Account)];
        names.into_iter().find_map(|(grantee, to)| {
            let grant = self.of_grantee(&grantee?, circumstances, accept)?;
            Some(Permit { grant: Arc::clone(grant), to })
        })
    }

    fn of_grantee(
        &self,
        grantee: &Grantee,
        circumstances: &Circumstances<'_>,
        accept: &dyn Fn(&KnownGrant) -> bool,
    ) -> Option<&Arc<KnownGrant>> {
        let hash = self.hasher.hash_one(grantee);
        let purpose = circumstances.purpose;
        let fits =
            |known: &KnownGrant| known.grantee == *grantee && known.fits(circumstances) && accept(known);
        // Grants without a constraint on the source, then those for this source.
        let sources = [None, circumstances.source_arn];
        let sources = sources.get(..1 + usize::from(circumstances.source_arn.is_some()))?;
        sources.iter().find_map(|source| {
            let any = || self.at(&Slot::Any(hash, purpose, *source), &fits);
            let equals = || {
                let whole = circumstances.whole.as_ref()?;
                self.at(&Slot::Equals(hash, purpose, *source, whole.as_bytes()), &fits)
            };
            let subset = |(key, value)| {
                let found = self.by_pair.get(&self.hash(&Slot::Pair(hash, *source, key, value)))?;
                let context = circumstances.context?;
                found
                    .iter()
                    .filter(|pairs| pairs.are_in(context))
                    .find_map(|pairs| self.at(&Slot::Subset(hash, purpose, *source, pairs.as_bytes()), &fits))
            };
            let subsets = || {
                let context = circumstances.context.filter(|_| !self.by_pair.is_empty())?;
                context.pairs().find_map(subset)
            };
            any().or_else(equals).or_else(subsets)
        })
    }

    fn at(&self, slot: &Slot<'_>, fits: &dyn Fn(&KnownGrant) -> bool) -> Option<&Arc<KnownGrant>> {
        let known = |number: &u32| self.grants.get(usize::try_from(*number).ok()?)?.as_ref();
        let fitting = |number: &u32| known(number).filter(|known| fits(known));
        match self.slots.get(&self.hash(slot))? {
            Numbers::One(number) => fitting(number),
            Numbers::Many(numbers) => numbers.iter().find_map(fitting),
        }
    }

    fn number(&self, id: &GrantId) -> Option<u32> {
        let is_it = |number: &u32| {
            let known = usize::try_from(*number).ok().and_then(|number| self.grants.get(number));
            known.and_then(Option::as_ref).is_some_and(|known| known.id == *id)
        };
        match self.slots.get(&self.hash(&Slot::Id(&id.0)))? {
            Numbers::One(number) => Some(*number).filter(is_it),
            Numbers::Many(numbers) => numbers.iter().copied().find(is_it),
        }
    }

    /// Everywhere that a grant is found.
    fn slots_of(&self, known: &KnownGrant) -> Vec<u64> {
        let grantee = self.hasher.hash_one(&known.grantee);
        let source = known.condition.source_arn.as_deref();
        let uses = known.operations.iter().filter(|operation| operation.is_permitted_by_grants());
        let parent = known.operations.contains(GrantOperation::CreateGrant).then_some(Purpose::Parent);
        let mut slots = vec![self.hash(&Slot::Id(&known.id.0))];
        for purpose in uses.map(Purpose::Use).chain(parent) {
            slots.extend(match (&known.condition.context, purpose.minds_contexts()) {
                (ContextCondition::Any, _) | (_, false) => {
                    Some(self.hash(&Slot::Any(grantee, purpose, source)))
                }
                (ContextCondition::Equals(pairs), true) => {
                    Some(self.hash(&Slot::Equals(grantee, purpose, source, pairs.as_bytes())))
                }
                (ContextCondition::Subset(pairs), true) => {
                    Some(self.hash(&Slot::Subset(grantee, purpose, source, pairs.as_bytes())))
                }
                (ContextCondition::Never, true) => None,
            });
        }
        slots
    }

    fn register(&mut self, known: &KnownGrant) {
        let ContextCondition::Subset(pairs) = &known.condition.context else { return };
        let grantee = self.hasher.hash_one(&known.grantee);
        let source = known.condition.source_arn.as_deref();
        let slot = self.hash(&Slot::Registered(grantee, source, pairs.as_bytes()));
        if let Some(subset) = self.subsets.get_mut(&slot) {
            subset.grants += 1;
            return;
        }
        let crowd = |pair: &u64| self.by_pair.get(pair).map_or(0, Vec::len);
        let slots = pairs.iter().map(|(key, value)| self.hash(&Slot::Pair(grantee, source, key, value)));
        let Some(pair) = slots.min_by_key(crowd) else { return };
        self.by_pair.entry(pair).or_default().push(pairs.clone());
        self.subsets.insert(slot, Subset { grants: 1, pair });
    }

    fn unregister(&mut self, known: &KnownGrant) {
        let ContextCondition::Subset(pairs) = &known.condition.context else { return };
        let grantee = self.hasher.hash_one(&known.grantee);
        let source = known.condition.source_arn.as_deref();
        let slot = self.hash(&Slot::Registered(grantee, source, pairs.as_bytes()));
        let Entry::Occupied(mut subset) = self.subsets.entry(slot) else { return };
        subset.get_mut().grants -= 1;
        if subset.get().grants > 0 {
            return;
        }
        let Subset { pair, .. } = subset.remove();
        let Entry::Occupied(mut found) = self.by_pair.entry(pair) else { return };
        if let Some(place) = found.get().iter().position(|other| other == pairs) {
            found.get_mut().swap_remove(place);
        }
        if found.get().is_empty() {
            found.remove();
        }
    }

    fn hash(&self, slot: &Slot<'_>) -> u64 {
        self.hasher.hash_one(slot)
    }
}

impl KnownGrant {
    fn of(grant: &Grant) -> Self {
        Self {
            id: grant.id.clone(),
            grantee: Grantee::of(&grant.grantee),
            operations: grant.operations.iter().copied().collect(),
            condition: Condition::of(&grant.constraints),
        }
    }

    fn fits(&self, circumstances: &Circumstances<'_>) -> bool {
        let operation = match circumstances.purpose {
            Purpose::Parent => GrantOperation::CreateGrant,
            Purpose::Use(operation) => operation,
        };
        let source = self.condition.source_arn.as_deref();
        let is_context_fit = || match (&self.condition.context, circumstances.context) {
            (ContextCondition::Any, _) => true,
            (_, _) if !circumstances.purpose.minds_contexts() => true,
            (ContextCondition::Equals(pairs), _) => circumstances.whole.as_ref() == Some(pairs),
            (ContextCondition::Subset(pairs), Some(context)) => pairs.are_in(context),
            (ContextCondition::Subset(_), None) | (ContextCondition::Never, _) => false,
        };
        self.operations.contains(operation)
            && (source.is_none() || source == circumstances.source_arn)
            && is_context_fit()
    }
}

impl Purpose {
    /// AWS KMS Developer Guide, Using grant constraints: what takes no encryption context ignores constraints on it.
    const fn minds_contexts(self) -> bool {
        match self {
            Self::Parent => true,
            Self::Use(operation) => operation.takes_encryption_context(),
        }
    }
}

impl Grantee {
    fn of(principal: &GrantPrincipal) -> Self {
        match principal {
            GrantPrincipal::Principal(arn) => match principal.account() {
                Some(account) => Self::Account(Box::from(account)),
                None => Self::Principal(Box::from(arn.as_str())),
            },
            GrantPrincipal::Service(name) => Self::Service(Box::from(name.as_str())),
        }
    }
}

impl Numbers {
    fn insert(&mut self, number: u32) {
        match self {
            Self::One(first) => *self = Self::Many([*first, number].into_iter().collect()),
            Self::Many(numbers) => drop(numbers.insert(number)),
        }
    }

    /// Whether none is left.
    fn remove(&mut self, number: u32) -> bool {
        match self {
            Self::One(one) => *one == number,
            Self::Many(numbers) => {
                numbers.remove(&number);
                numbers.is_empty()
            }
        }
    }
}

#[cfg(test)]
mod tests;
