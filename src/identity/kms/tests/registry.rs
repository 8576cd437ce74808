//! Identities that administrators make.

use std::sync::Arc;

use crate::clock::SystemClock;
use crate::identity::kms::tests::fakes::{MemoryStore, Sealer};
use crate::identity::kms::tests::{ALICE, FILE, NOW, call, declared, text};
use crate::identity::kms::{
    AdminAnswer, AdminError, AdminRequest, Directory, Holder, HolderKind, IdentityAdmin, NewAccessKey,
    Registry, Shown, Unauthenticated, administer_json,
};

const ALLOW: &str =
    r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"kms:*","Resource":"*"}}"#;
const TRUST: &str = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":"sts:AssumeRole"}}"#;

struct Site {
    directory: Arc<Directory>,
    registry: Registry,
}

async fn start(store: &Arc<MemoryStore>) -> Result<Site, AdminError> {
    let directory = Arc::new(Directory::default());
    directory.declare(declared(FILE).unwrap()).unwrap();
    let registry = Registry::new(
        Arc::clone(&directory),
        Arc::clone(store) as _,
        Arc::new(Sealer),
        Arc::new(SystemClock),
    );
    registry.load().await?;
    Ok(Site { directory, registry })
}

fn holder(kind: HolderKind, name: &str) -> Holder {
    Holder { account: "111122223333".to_owned(), kind, name: name.to_owned() }
}

fn bob() -> Holder {
    holder(HolderKind::User, "bob")
}

fn create_bob() -> AdminRequest {
    AdminRequest::CreateUser { user: bob(), path: "/".to_owned(), tags: [].into() }
}

fn create_key(user: &str) -> AdminRequest {
    AdminRequest::CreateAccessKey { account: "111122223333".to_owned(), user: Some(user.to_owned()) }
}

fn create_role(name: &str) -> AdminRequest {
    AdminRequest::CreateRole {
        role: holder(HolderKind::Role, name),
        path: "/".to_owned(),
        tags: [].into(),
        trust_policy: TRUST.to_owned(),
        max_session_duration_seconds: 3600,
    }
}

impl Site {
    async fn ask(&self, request: AdminRequest) -> Result<AdminAnswer, AdminError> {
        self.registry.administer(request).await
    }

    async fn new_key(&self, user: &str) -> NewAccessKey {
        let answer = self.ask(create_key(user)).await.unwrap();
        let AdminAnswer::NewAccessKey(key) = answer else { panic!("{answer:?}") };
        key
    }

    async fn show(&self, holder: Holder) -> Shown {
        let answer = self.ask(AdminRequest::Show(holder)).await.unwrap();
        let AdminAnswer::Identity(shown) = answer else { panic!("{answer:?}") };
        *shown
    }
}

#[tokio::test]
async fn what_is_made_is_in_force_at_once_and_after_a_restart() {
    let store = Arc::new(MemoryStore::default());
    let site = start(&store).await.unwrap();
    assert_eq!(site.ask(create_bob()).await, Ok(AdminAnswer::Done));
    assert_eq!(site.ask(create_bob()).await, Err(AdminError::Exists));
    let key = site.new_key("bob").await;
    let put = AdminRequest::PutPolicy { of: bob(), name: "all".to_owned(), document: ALLOW.to_owned() };
    assert_eq!(site.ask(put).await, Ok(AdminAnswer::Done));
    let credential = (&*key.access_key_id, &*text(&key.secret_access_key));
    for site in [&site, &start(&store).await.unwrap()] {
        let caller = call(&site.directory, credential, None, NOW).unwrap();
        assert_eq!(&*caller.arn, "arn:aws:iam::111122223333:user/bob");
        assert_eq!(caller.policies.len(), 1);
        assert_eq!(*caller.user_id, *site.show(bob()).await.unique_id);
    }
    assert!(store.rows.lock().values().all(|sealed| !String::from_utf8_lossy(sealed).contains(credential.1)));
}

#[tokio::test]
async fn a_key_that_is_switched_off_or_deleted_authenticates_nobody() {
    let site = start(&Arc::default()).await.unwrap();
    site.ask(create_bob()).await.unwrap();
    let key = site.new_key("bob").await;
    let credential = (&*key.access_key_id, &*text(&key.secret_access_key));
    let set = |active| AdminRequest::SetAccessKeyActive { access_key_id: key.access_key_id.clone(), active };
    site.ask(set(false)).await.unwrap();
    assert_eq!(call(&site.directory, credential, None, NOW).unwrap_err(), Unauthenticated::AccessKeyUnknown);
    site.ask(set(true)).await.unwrap();
    assert!(call(&site.directory, credential, None, NOW).is_ok());
    assert!(matches!(site.ask(AdminRequest::Delete(bob())).await, Err(AdminError::Limit(_))));
    site.ask(AdminRequest::DeleteAccessKey { access_key_id: key.access_key_id.clone() }).await.unwrap();
    assert!(call(&site.directory, credential, None, NOW).is_err());
    site.ask(AdminRequest::Delete(bob())).await.unwrap();
    assert_eq!(site.ask(AdminRequest::Show(bob())).await, Err(AdminError::Missing));
}

#[tokio::test]
async fn what_a_file_declares_cannot_be_changed_by_command() {
    let site = start(&Arc::default()).await.unwrap();
    let alice = holder(HolderKind::User, "alice");
    let put =
        AdminRequest::PutPolicy { of: alice.clone(), name: "all".to_owned(), document: ALLOW.to_owned() };
    let switch = AdminRequest::SetAccessKeyActive { access_key_id: ALICE.0.to_owned(), active: false };
    let drop = AdminRequest::DeleteAccessKey { access_key_id: ALICE.0.to_owned() };
    for request in [put, switch, drop, AdminRequest::Delete(alice.clone())] {
        assert_eq!(site.ask(request).await, Err(AdminError::Declared));
    }
    assert!(site.show(alice).await.declared);
    assert_eq!(site.ask(create_role("reader")).await, Err(AdminError::Exists));
}

#[tokio::test]
async fn what_breaks_a_rule_is_not_stored() {
    let store = Arc::new(MemoryStore::default());
    let site = start(&store).await.unwrap();
    site.ask(create_bob()).await.unwrap();
    let put = AdminRequest::PutPolicy { of: bob(), name: "all".to_owned(), document: "{}".to_owned() };
    assert!(matches!(site.ask(put).await, Err(AdminError::Invalid(_))));
    let bad = AdminRequest::CreateUser {
        user: holder(HolderKind::User, "a/b"),
        path: "/".to_owned(),
        tags: [].into(),
    };
    assert!(matches!(site.ask(bad).await, Err(AdminError::Invalid(_))));
    assert_eq!(store.rows.lock().len(), 1);
    for _ in 0..2 {
        site.new_key("bob").await;
    }
    assert!(matches!(site.ask(create_key("bob")).await, Err(AdminError::Limit(_))));
    assert_eq!(site.ask(create_key("nobody")).await, Err(AdminError::Missing));
}

#[tokio::test]
async fn a_change_that_is_not_stored_is_not_in_force() {
    let store = Arc::new(MemoryStore::default());
    let site = start(&store).await.unwrap();
    *store.is_gone.lock() = true;
    assert!(matches!(site.ask(create_bob()).await, Err(AdminError::Store(_))));
    assert_eq!(site.ask(AdminRequest::Show(bob())).await, Err(AdminError::Missing));
}

#[tokio::test]
async fn a_row_that_is_copied_over_another_one_does_not_open() {
    let store = Arc::new(MemoryStore::default());
    let site = start(&store).await.unwrap();
    site.ask(create_role("one")).await.unwrap();
    site.ask(create_role("two")).await.unwrap();
    {
        let mut rows = store.rows.lock();
        let first = rows.values().next().unwrap().clone();
        rows.values_mut().for_each(|sealed| sealed.clone_from(&first));
    }
    assert!(matches!(start(&store).await, Err(AdminError::Hsm(_))));
}

#[tokio::test]
async fn a_role_that_is_made_anew_is_another_one() {
    let site = start(&Arc::default()).await.unwrap();
    site.ask(create_role("one")).await.unwrap();
    let before = site.show(holder(HolderKind::Role, "one")).await.unique_id;
    site.ask(AdminRequest::Delete(holder(HolderKind::Role, "one"))).await.unwrap();
    site.ask(create_role("one")).await.unwrap();
    assert_ne!(site.show(holder(HolderKind::Role, "one")).await.unique_id, before);
}

#[tokio::test]
async fn the_control_socket_gets_json_of_one_line() {
    let site = start(&Arc::default()).await.unwrap();
    let request = serde_json::to_string(&create_bob()).unwrap();
    assert_eq!(*administer_json(&site.registry, &request).await.unwrap(), "\"done\"");
    let again = administer_json(&site.registry, &request).await.unwrap_err();
    assert_eq!(again, "it exists already");
    assert!(administer_json(&site.registry, "{}").await.is_err());
    let list = r#"{"list":{"account":null,"kind":"user"}}"#;
    let answer = administer_json(&site.registry, list).await.unwrap();
    let AdminAnswer::Identities(users) = serde_json::from_str(&answer).unwrap() else { panic!() };
    assert_eq!(users.iter().map(|user| user.declared).collect::<Vec<_>>(), [true, true, false]);
}

#[test]
fn requests_and_answers_survive_the_control_socket() {
    for request in [create_bob(), create_key("bob"), create_role("r"), AdminRequest::Delete(bob())] {
        let json = serde_json::to_string(&request).unwrap();
        assert!(!json.contains('\n'));
        assert_eq!(serde_json::from_str::<AdminRequest>(&json).unwrap(), request);
    }
}
