//! Diagnoses of the KMS API: custom key stores and KMS keys.

use crate::doctor::diagnosis::diagnoses;

diagnoses! { Kms:
    CONNECTION = "kms-key-store-connection" "Every custom key store is connected"
        "DISCONNECTED: ConnectCustomKeyStore. FAILED: DisconnectCustomKeyStore first, repair what the error code says \
         (below), then connect.";
    KEY_STATES = "kms-key-states" "KMS keys are in use"
        "Disabled: EnableKey, if whoever disabled it agrees. Unavailable: connect its key store. PendingDeletion: \
         CancelKeyDeletion, then EnableKey. The state says nothing about the key in the HSM.";
    MEMBERS = "kms-cluster-members" "Two members or more of each cluster serve"
        "Repair or add a member: one is enough to use keys, CreateKey needs two.";
    ORPHANS = "kms-cluster-orphans" "Each key object of a cluster has its KMS key, and each KMS key its key object"
        "Orphan: disconnect the key store, delete the object with the cluster's tool as `kmsuser`, change its password in \
         the key store if it changed, connect. Missing: restore the cluster from a backup that has the key.";
    ANCHOR = "kms-cluster-trust-anchor" "The trust anchor of each cluster is a certificate in its time"
        "Name the cluster's `customerCA.crt` in `trust_anchor_file`.";
    ALONE = "kms-key-store-alone" "No two custom key stores are of one cluster"
        "One cluster is of one key store: delete one of them, or give it a cluster of its own.";
    VPC = "kms-vpc-endpoint-service" "VPC endpoint services are as AWS KMS demands"
        "Same Region and account, a network load balancer in two Availability Zones, no acceptance required, \
         `cks.kms.REGION.amazonaws.com` as allowed principal, a verified private DNS name that is the endpoint's host.";
}
