//! A policy and a request, separated by U+001E: no panic, a pure decision, and printing loses nothing.
#![no_main]

use holdfast::policy::AttachedTo;
use holdfast::policy::Context;
use holdfast::policy::PolicyDocument;
use holdfast::policy::Principal;
use holdfast::policy::Request;
use holdfast::policy::evaluate;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut parts = text.split('\u{1e}');
    let Ok(policy) = PolicyDocument::parse(parts.next().unwrap_or_default()) else { return };
    assert_eq!(PolicyDocument::parse(&policy.to_string()).as_ref(), Ok(&policy));

    let mut part = || parts.next().unwrap_or_default();
    let (principal, action, resource) = (Principal::new(part()), part(), part());
    // Every key that the policy tests has some value or other, so that the comparisons are reached.
    let values: Vec<_> = std::iter::from_fn(|| parts.next()).collect();
    let keys = policy.condition_keys().zip(values.iter().cycle());
    let context = keys.fold(Context::new(), |context, (key, value)| context.with(key, *value));
    let request = Request { principal, action, resource, context };
    for attached_to in [AttachedTo::Identity, AttachedTo::Resource] {
        assert_eq!(evaluate(&request, attached_to, &policy), evaluate(&request, attached_to, &policy));
    }
});
