//! Related multi-Region keys: what they have in common, how a replica is made, and how replicas follow their primary.

use std::sync::Arc;

use crate::domain::kms::{
    Import, Key, KeyState, Material, MaterialId, MaterialSource, MultiRegionKeyType, Origin, Region, Scope,
    Tag, UnixMillis,
};

/// More than AWS has Regions in any partition.
pub const RELATED_KEYS_MAX: usize = 64;

/// Every key of one account with one id, in the order of their Regions. One is the primary, the others are replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelatedKeys(Vec<Key>);

/// What a replica does not have in common with its primary, when it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewReplica {
    pub region: Region,
    pub created: UnixMillis,
    pub description: String,
    pub policy: Arc<str>,
    pub tags: Vec<Tag>,
}

impl RelatedKeys {
    pub fn new(keys: Vec<Key>) -> Self {
        Self(keys)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Key> {
        self.0.iter()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn primary(&self) -> Option<&Key> {
        self.0.iter().find(|key| !key.is_replica())
    }

    /// In the order of their Regions.
    pub fn replicas(&self) -> impl Iterator<Item = &Key> {
        self.0.iter().filter(|key| key.is_replica())
    }

    pub fn has_replicas(&self) -> bool {
        self.replicas().next().is_some()
    }

    pub fn in_region(&self, region: &Region) -> Option<&Key> {
        self.0.iter().find(|key| key.scope.region == *region)
    }

    /// One that does not have this material, if there is one.
    pub fn lacking(&self, material: &MaterialId) -> Option<&Key> {
        self.0.iter().find(|key| key.material(material).is_none_or(Material::is_absent))
    }

    /// With a replica that was made since.
    #[must_use]
    pub fn and(mut self, replica: Key) -> Self {
        self.0.push(replica);
        self.0.sort_by(|one, other| one.scope.cmp(&other.scope));
        self
    }

    /// Those replicas that are to change because their primary is going to be `primary`, as they will be then.
    pub fn following(&self, primary: &Key) -> Vec<Key> {
        let changed = self.replicas().map(|replica| (replica, replica.following(primary)));
        changed.filter(|(before, after)| *before != after).map(|(_, after)| after).collect()
    }
}

impl Key {
    /// A replica of this primary key.
    #[must_use]
    pub fn replica(&self, new: NewReplica) -> Self {
        let is_imported = self.origin == Origin::External;
        Self {
            scope: Scope { account: self.scope.account.clone(), region: new.region },
            id: self.id.clone(),
            revision: 1,
            created: new.created,
            description: new.description,
            spec: self.spec,
            usage: self.usage,
            origin: self.origin,
            place: self.place.clone(),
            multi_region: Some(MultiRegionKeyType::Replica),
            state: if is_imported { KeyState::PendingImport } else { KeyState::Enabled },
            deletion: None,
            rotation: self.rotation,
            policy: new.policy,
            tags: new.tags,
            aliases: Vec::new(),
            materials: following_materials(&self.materials, &[]),
        }
    }

    /// This replica with what it has in common with its primary.
    fn following(&self, primary: &Self) -> Self {
        let materials = following_materials(&primary.materials, &self.materials);
        Self { rotation: primary.rotation, materials, ..self.clone() }
    }
}

/// The generations of the primary as a replica has them that has `own`. Imported material is not copied, but which one
/// it is: when it expires, and whether it is there, is of each key alone.
fn following_materials(primary: &[Material], own: &[Material]) -> Vec<Material> {
    primary
        .iter()
        .map(|material| {
            let own = own.iter().find(|own| own.is_same_as(material));
            let Some(import) = &material.import else { return own.unwrap_or(material).clone() };
            let own_import = own.and_then(|own| own.import.as_ref());
            Material {
                id: own.map_or(material.id, |own| own.id),
                created: material.created,
                rotation: material.rotation,
                encryptions: own.map_or(material.encryptions, |own| own.encryptions),
                source: own.map_or(MaterialSource::Absent, |own| own.source.clone()),
                public_key: material.public_key.clone(),
                import: Some(Import {
                    description: own_import.and_then(|own| own.description.clone()),
                    valid_to: own_import.and_then(|own| own.valid_to),
                    is_pending_rotation: import.is_pending_rotation,
                    fingerprint: import.fingerprint.clone(),
                }),
            }
        })
        .collect()
}

impl Material {
    /// Whether it is this generation of a related key. Where it is imported again as an object of the token, its id is
    /// another; a replica has its fingerprint from its primary.
    fn is_same_as(&self, other: &Self) -> bool {
        let fingerprint = |material: &Self| material.import.as_ref().map(|import| import.fingerprint.clone());
        self.id == other.id || fingerprint(self).is_some_and(|own| Some(own) == fingerprint(other))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{NewReplica, RelatedKeys};
    use crate::domain::kms::{
        AccountId, Deletion, Import, KeptKey, Key, KeyId, KeyPlace, KeySpec, KeyState, KeyUsage, Material,
        MaterialId, MaterialSource, MultiRegionKeyType, Origin, Region, Rotation, RotationType, Scope, Tag,
        UnixMillis,
    };

    fn region(name: &str) -> Region {
        Region::parse(name).unwrap()
    }

    fn material(number: u8, import: Option<Import>) -> Material {
        Material {
            id: MaterialId::new([number; 32]),
            created: UnixMillis(i64::from(number)),
            rotation: (number > 1).then_some(RotationType::OnDemand),
            encryptions: 5,
            source: MaterialSource::Kept(Arc::new(KeptKey::TokenObject)),
            public_key: None,
            import,
        }
    }

    fn imported(valid_to: Option<i64>) -> Import {
        Import {
            description: Some("the first".to_owned()),
            valid_to: valid_to.map(UnixMillis),
            is_pending_rotation: false,
            fingerprint: vec![1, 2, 3],
        }
    }

    fn primary(materials: Vec<Material>) -> Key {
        Key {
            scope: Scope { account: AccountId::parse("123456789012").unwrap(), region: region("us-east-1") },
            id: KeyId::from_random([7; 16], true),
            revision: 9,
            created: UnixMillis(1),
            description: "of the primary".to_owned(),
            spec: KeySpec::SymmetricDefault,
            usage: KeyUsage::EncryptDecrypt,
            origin: Origin::AwsKms,
            place: KeyPlace::Default,
            multi_region: Some(MultiRegionKeyType::Primary),
            state: KeyState::Enabled,
            deletion: Some(Deletion { due: None, window_days: 7 }),
            rotation: Some(Rotation { period_days: 90, next: UnixMillis(100) }),
            policy: "primary".into(),
            tags: vec![Tag { key: "of".to_owned(), value: "primary".to_owned() }],
            aliases: Vec::new(),
            materials,
        }
    }

    fn new_replica(name: &str) -> NewReplica {
        NewReplica {
            region: region(name),
            created: UnixMillis(50),
            description: String::new(),
            policy: "replica".into(),
            tags: Vec::new(),
        }
    }

    #[test]
    fn a_replica_has_in_common_what_is_shared_and_nothing_else() {
        let primary = primary(vec![material(1, None), material(2, None)]);
        let replica = primary.replica(new_replica("eu-west-1"));
        let expected = Key {
            scope: Scope { region: region("eu-west-1"), ..primary.scope.clone() },
            revision: 1,
            created: UnixMillis(50),
            description: String::new(),
            multi_region: Some(MultiRegionKeyType::Replica),
            deletion: None,
            policy: "replica".into(),
            tags: Vec::new(),
            ..primary
        };
        assert_eq!(replica, expected);
    }

    #[test]
    fn imported_material_is_known_to_a_replica_but_not_there() {
        let primary = Key { origin: Origin::External, ..primary(vec![material(1, Some(imported(Some(9))))]) };
        let replica = primary.replica(new_replica("eu-west-1"));
        assert_eq!(replica.state, KeyState::PendingImport);
        let [known] = replica.materials.as_slice() else { panic!("{replica:?}") };
        assert_eq!((known.id, known.source.clone()), (MaterialId::new([1; 32]), MaterialSource::Absent));
        let import = Import { description: None, ..imported(None) };
        assert_eq!(known.import, Some(import));
    }

    #[test]
    fn replicas_follow_schedule_and_materials_and_keep_their_own() {
        let first = primary(vec![material(1, None)]);
        let [here, there] = ["eu-west-1", "ap-south-1"].map(|name| first.replica(new_replica(name)));
        let disabled = Key { state: KeyState::Disabled, ..there };
        let related = RelatedKeys::new(vec![first.clone()]).and(here.clone()).and(disabled.clone());
        let regions: Vec<_> = related.replicas().map(|key| key.scope.region.as_str()).collect();
        assert_eq!(regions, ["ap-south-1", "eu-west-1"]);
        assert_eq!((related.primary(), related.len()), (Some(&first), 3));
        assert_eq!(related.following(&first), []);
        let mut rotated = Key { description: "new".to_owned(), rotation: None, ..first };
        rotated.materials.push(material(2, None));
        let materials = rotated.materials.clone();
        let follows = |key: Key| Key { rotation: None, materials: materials.clone(), ..key };
        assert_eq!(related.following(&rotated), [follows(disabled), follows(here)]);
    }

    #[test]
    fn what_a_replica_imported_stays_when_its_primary_has_other_dates() {
        let primary = Key { origin: Origin::External, ..primary(vec![material(1, Some(imported(Some(9))))]) };
        let mut replica = primary.replica(new_replica("eu-west-1"));
        replica.materials = vec![Material { encryptions: 8, ..material(1, Some(imported(None))) }];
        let related = RelatedKeys::new(vec![replica.clone(), primary.clone()]);
        let mut next = primary;
        next.materials[0].source = MaterialSource::Absent;
        next.materials[0].import = Some(imported(Some(77)));
        assert_eq!(related.following(&next), []);
        let second = Import { is_pending_rotation: true, fingerprint: vec![4], ..imported(None) };
        next.materials.push(material(2, Some(second)));
        // Of the first, imported again, the id may be another.
        next.materials[0].id = MaterialId::new([9; 32]);
        let [follower] = related.following(&next).try_into().unwrap();
        assert_eq!(follower.materials[0], replica.materials[0]);
        assert!(follower.materials[1].is_absent() && follower.materials[1].is_pending_rotation());
    }
}
