//! Signatures whose verdict is known, for the probe of the host's verifier. The keys were made for this file with OpenSSL
//! and their private parts thrown away. All sign the same [`MESSAGE`].

use crate::algorithm::Algorithm;

/// What is signed.
pub const MESSAGE: &[u8] = b"portcullis";

/// The modulus of the RSA key; its exponent is 65537.
pub const RSA_N: &str = "t_dB3TUo36duVpr-IIqMV4C5qYeAHDrh1RLLSgn641_003vA-FeMgu7e18GvgLoXv9RR4wXZiNMGNMgODqHN1hGpUwIlDOABREXuVw_cS5lPPC9N0nT9oIsoPZVt44FVFbUmlAeX3QZ5PzelPC6r1-U4DAbzbFychVO5FsVx2xz0bpFY5J0aUtxv0R7n_6a6WNX4pj47d82JWcTvdnZSyzLyhdnzK-2xBZuyHuAZWjrA6YHlWFVXqaeJitOTiyNmADMv7YQUNCNhzvHu0nXlBmCIMoizwK96n3V_MBh5UFFBaAXHk_PK2W7IsGWnE3tJCyB7ViGgsnjymVZO_-RAQQ";

/// A key and its signature of [`MESSAGE`].
#[derive(Clone, Copy, Debug)]
pub struct KnownAnswer {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The public key as a JWK.
    pub jwk: &'static str,
    /// The signature as a JWS has it, in base64url.
    pub signature: &'static str,
}

/// One for each algorithm that the host may verify.
pub const ALL: [KnownAnswer; 6] = [
    KnownAnswer {
        algorithm: Algorithm::RS256,
        jwk: r#"{"kty":"RSA","e":"AQAB","n":"t_dB3TUo36duVpr-IIqMV4C5qYeAHDrh1RLLSgn641_003vA-FeMgu7e18GvgLoXv9RR4wXZiNMGNMgODqHN1hGpUwIlDOABREXuVw_cS5lPPC9N0nT9oIsoPZVt44FVFbUmlAeX3QZ5PzelPC6r1-U4DAbzbFychVO5FsVx2xz0bpFY5J0aUtxv0R7n_6a6WNX4pj47d82JWcTvdnZSyzLyhdnzK-2xBZuyHuAZWjrA6YHlWFVXqaeJitOTiyNmADMv7YQUNCNhzvHu0nXlBmCIMoizwK96n3V_MBh5UFFBaAXHk_PK2W7IsGWnE3tJCyB7ViGgsnjymVZO_-RAQQ"}"#,
        signature: "TYsvk5fxW-U0NkBcja_DmVfqGe1K5uebdAkqRBYvsZrEiSYZ-NuNfesehjR8c53LOdB2g1CctZY4I-1U5JkoqPCuZ2G1CxQ0wHu2d8z_RlLoD95VMTjnUwSLuBzBU5mkdwC92Unz9i_qOeijuK_2SoaGDiyo4MJtmAJByumquj2hes_S3RJE4UfpxGecaKyfcCeh-Vky1hoS-uxk2-saoO3mSbf4CyrRvHC7-GVVH1F-HasN6UGfwFPUqXf-C7ikbijCss1qhs9LgWyDO1UzTExbh67rg1Xk7u6l_rM6rMDhSN2Ssb4ovE2EQRfQgZ5aRtS7x-HgPuCDO1wL-ivnHA",
    },
    KnownAnswer {
        algorithm: Algorithm::RS384,
        jwk: r#"{"kty":"RSA","e":"AQAB","n":"t_dB3TUo36duVpr-IIqMV4C5qYeAHDrh1RLLSgn641_003vA-FeMgu7e18GvgLoXv9RR4wXZiNMGNMgODqHN1hGpUwIlDOABREXuVw_cS5lPPC9N0nT9oIsoPZVt44FVFbUmlAeX3QZ5PzelPC6r1-U4DAbzbFychVO5FsVx2xz0bpFY5J0aUtxv0R7n_6a6WNX4pj47d82JWcTvdnZSyzLyhdnzK-2xBZuyHuAZWjrA6YHlWFVXqaeJitOTiyNmADMv7YQUNCNhzvHu0nXlBmCIMoizwK96n3V_MBh5UFFBaAXHk_PK2W7IsGWnE3tJCyB7ViGgsnjymVZO_-RAQQ"}"#,
        signature: "Bc03A3TKDcm9dTfujZ1YIxupvTc_guMKq2Eh9e1ob600sZZVOW9Ijjmd8p8GMoMb3t3hAZFwBlHSp8xKOOm9-qdRVjP5NpLNJ-RawxsVm6WyHxcKQfUPsPaVaazwp5XH6m0OYd0SJxsygLxTuh3Nn9wTpDZPdtiN-LgVpnu4XvDmFUIGI0Ztuby6zJAj9XHyQkpIXKMMhtI_RrtA1ae0_S2dXg7Yy7JDuWT3jSR19BQuPZ25ov6uoWkrGRiSV4P-eFsAwXHA6mJD_0SzfVJsfGCvRtMf8BwHopF9JT91P_BLLSjUMNQoK_YaTDtOx1un7M_gtptksVzBfJod4ci6Xw",
    },
    KnownAnswer {
        algorithm: Algorithm::RS512,
        jwk: r#"{"kty":"RSA","e":"AQAB","n":"t_dB3TUo36duVpr-IIqMV4C5qYeAHDrh1RLLSgn641_003vA-FeMgu7e18GvgLoXv9RR4wXZiNMGNMgODqHN1hGpUwIlDOABREXuVw_cS5lPPC9N0nT9oIsoPZVt44FVFbUmlAeX3QZ5PzelPC6r1-U4DAbzbFychVO5FsVx2xz0bpFY5J0aUtxv0R7n_6a6WNX4pj47d82JWcTvdnZSyzLyhdnzK-2xBZuyHuAZWjrA6YHlWFVXqaeJitOTiyNmADMv7YQUNCNhzvHu0nXlBmCIMoizwK96n3V_MBh5UFFBaAXHk_PK2W7IsGWnE3tJCyB7ViGgsnjymVZO_-RAQQ"}"#,
        signature: "ghcNu6siBgfnXSvLpkQ2fuAtSJtt1muqxhg80NJB-Oj5bCjd3XwApPvQq6oy0QxfON-_t3RltzcMWZKvP6PUaSxyRn2ekBAEdKkm-owvhmdp-PME6gMcSBHHMDNLIOwj5-Ilz0WXoSO02H6UsMeIC2ZHnH1pZzHGzaQu8MTQcDN2kCdg4sXw5V3N2QrGB8QdoFqr5GUAgT-MmKw1NJD58hX4o9HQaMzFD_aywhXGfArhLWe9AQT0S5JbX5zuErbIsMJoB6JrK98sDTzIb3Rp07UTJ1RHIvdw9FWK-224RoKKZSXaxrmbeW6Jc4MdO9DJtQofAJ3zxDizsDeehGJXSg",
    },
    KnownAnswer {
        algorithm: Algorithm::ES256,
        jwk: r#"{"kty":"EC","crv":"P-256","x":"54T2CsS-6zARjzxgiyfqZMFrjN9cMhWYTUSSOjWPyM0","y":"Qftzy5ybvj101CGJbJxwh15kkb2OExTdvYIj8PjHSao"}"#,
        signature: "YO9Oqxi-o_8AtjDiLDx8H-fuYE-wL67N1BmBZQX7_lXBdNfbJWPh3v3DoooISZzfYeNwShLlS2nJIfB_PaLCoQ",
    },
    KnownAnswer {
        algorithm: Algorithm::ES384,
        jwk: r#"{"kty":"EC","crv":"P-384","x":"M6_094M12veqDJ6VpMKWOKANxBPoi05aQ3Tn82xBVGHMR7MdVv08EHxKyvU7_8TS","y":"1y_FKln8PrFQBA3V3Wgcna9jmhzDox85AbwXR-LdpMezH6MVJ2YIb3YWLyVGD4ak"}"#,
        signature: "hFqOuAOYTduL6QQe0Vzhn_kDkHAEcE32pI-qZBFj6cGIDH1kZPq1Unkndmo3SGSK02UFbyy0TG8KK0EneiTx7gLA-dj6DgMgryI7hM9iFnz34P9ErOI0PsobHTPucB-a",
    },
    KnownAnswer {
        algorithm: Algorithm::ES512,
        jwk: r#"{"kty":"EC","crv":"P-521","x":"AeXx8UD_cZXp5XghOEeKN0QINpqX6eyOTdzTr5ZGEDy89_p71yoykdJUbbAkmAs60E7zpCiyC6RJcNvrLpV4ehiJ","y":"AL07i2phzOR5kv8OkQbai00qyD6vjAuGICDu8ONfvvV9MknyK1npwAEQhAII1WvhfxLARkFfpmLdzY4Nyg5JENPn"}"#,
        signature: "AdThUyJTpVIoSDBDfMvwBHljfwk4rGOcNi3pbaHgsWuzF71M9Oy4PkBJLuaSe5Scv4L2NX0ztKa2YNc0FxnO1sunAJQaTjo8rnZTviCfER-0raM15fqe7mdB5M8Sqipkf8K4S6C_sZ9FtaQklzIyX05w-XdkxCzCTWSMZPaOcv_54wV9",
    },
];
