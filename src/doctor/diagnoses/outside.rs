//! Diagnoses of what others see: certificates, clock, credentials, an endpoint.

pub(in crate::doctor) mod certificates {
    use crate::doctor::diagnosis::diagnoses;

    diagnoses! { Certificates:
        CHAIN = "certificate-chain" "The certificate comes with its intermediates, each issued by the next"
            "Put the certificate first and then every intermediate, in this order, into `certificate_file`; the root may be left \
             out.";
        KEY = "certificate-key" "The private key belongs to the certificate"
            "Name the key that the certificate was asked for with in `private_key_file`.";
        DATES = "certificate-dates" "The certificate is in its time, and stays so for 30 days"
            "Renew it and replace both files: the daemon takes them up without a restart. When it expires every key is cut off.";
        NAME = "certificate-name" "The certificate is for the host of the endpoint, or a wildcard one label above it"
            "Get a certificate whose name is the host in XksProxyUriEndpoint, or `*.` and its domain.";
        AUTHORITY = "certificate-authority" "The certificate is from an authority that AWS KMS trusts"
            "Get it from a public CA of the published list (TrustedCertificateAuthorities of the XKS proxy API); clients of \
             your own may trust another one.";
        KEY_TYPE = "certificate-key-type" "The key is RSA of 2048 bits or more, or on P-256 or P-384"
            "Get a certificate for such a key: the suites of AWS KMS need RSA or ECDSA.";
        SUITES = "certificate-suites" "AES-256-GCM suites are offered with TLS 1.2 or 1.3"
            "Offer TLS_AES_256_GCM_SHA384 or TLS_ECDHE_(RSA|ECDSA)_WITH_AES_256_GCM_SHA384 in what terminates TLS before \
             the proxy: AWS GovCloud does not take ChaCha20.";
        CLIENT_AUTH = "certificate-client-auth" "Clients must show the certificate of AWS KMS"
            "Set `[listener.client_auth]` with the Amazon Trust Services roots as `ca_file`.";
        CLIENT_CA = "certificate-client-ca" "Client certificates are accepted from Amazon's authorities alone"
            "Put Amazon Root CA 1 to 4 and Starfield Services Root Certificate Authority - G2, from \
             https://www.amazontrust.com/repository/, into `ca_file`.";
        CLIENT_SUBJECT = "certificate-client-subject" "Accepted subjects are those of AWS KMS"
            "`subjects` must have `cks.kms.REGION.amazonaws.com` for each Region that uses the proxy.";
    }
}

pub(in crate::doctor) mod clock {
    use crate::doctor::diagnosis::diagnoses;

    diagnoses! { Clock:
        SYNCHRONISED = "clock-synchronised" "The clock of this machine is set by a time service"
            "Run chrony or systemd-timesyncd.";
        SKEW = "clock-skew" "The clock differs by less than a minute from others"
            "Set the clock: signatures that are five minutes off are refused.";
    }
}

pub(in crate::doctor) mod credentials {
    use crate::doctor::diagnosis::diagnoses;

    diagnoses! { Credentials:
        COUNT = "credential-count" "Each key store has one credential, or two while one is exchanged"
            "Remove what AWS KMS does not use any more: `holdfast credential remove --store NAME ID`.";
        AGE = "credential-age" "No credential is older than a year"
            "Exchange it: `holdfast credential create`, UpdateCustomKeyStore, wait until the old one stands still, \
             `holdfast credential remove`. The age in CloudWatch counts from when AWS KMS was given it.";
        USED = "credential-used" "Each credential is used"
            "If AWS KMS should use it: it was exchanged here and not there. Give it to AWS KMS with UpdateCustomKeyStore, also \
             when the key store was disconnected meanwhile. Else remove it.";
    }
}

pub(in crate::doctor) mod endpoint {
    use crate::doctor::diagnosis::diagnoses;

    diagnoses! { Endpoint:
        URL = "endpoint-url" "The endpoint is `https://` and a host, on port 443"
            "Give `https://HOST`, or `https://HOST/PREFIX` for one key store. AWS KMS calls port 443 alone, and XksProxyUriEndpoint is \
             without the prefix: bring it to the proxy with a load balancer or `listen = \"[::]:443\"`.";
        DNS = "endpoint-dns" "The name has an IPv4 address"
            "Make an A record for it, or correct the name; for VPC connectivity verify the private DNS name.";
        TCP = "endpoint-tcp" "TCP connects"
            "Start the proxy; open port 443 in firewalls and security groups; correct the target of the load balancer.";
        TLS = "endpoint-tls" "TLS is agreed on, and the certificate verifies"
            "See the findings about certificates; what terminates TLS before the proxy must present the whole chain. An authority \
             of your own: name it with `--ca FILE` or HOLDFAST_CA.";
        MTLS = "endpoint-mtls" "Who shows no client certificate of AWS KMS is refused"
            "Set `[listener.client_auth]`, and have the load balancer pass TLS through (TCP, not TLS listeners).";
        DISTANCE = "endpoint-distance" "A round trip takes at most 35 ms"
            "Bring the proxy nearer to the Region; connect by AWS Direct Connect rather than a VPN.";
        TIME = "endpoint-time" "A request on a new connection is answered within 250 ms"
            "Look at the phase that takes longest: DNS, TCP and TLS are distance, the request is proxy and HSM.";
        PATH = "endpoint-path" "The URI path leads to a key store"
            "Make XksProxyUriPath `/PREFIX/kms/xks/v1` with the `uri_path_prefix` of the key store; if everything is 404, \
             something in between rewrites paths.";
        SIGNATURE = "endpoint-signature" "A request signed with the key store's credential is accepted"
            "Same request accepted at the listener: what is in between rewrites Host, path or date; have it pass them on. \
             Else correct the clock, the access key id or the secret.";
        HEALTH = "endpoint-health" "GetHealthStatus answers, and no key manager is unavailable"
            "Look at the HSMs behind it (`holdfast doctor --only hsm`); if the answer cannot be read, it is not a conforming \
             proxy: `holdfast check` says in what.";
    }
}
