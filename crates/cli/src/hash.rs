/// FNV-1a: the same on every machine and in every version.
pub(crate) fn fnv(bytes: impl AsRef<[u8]>) -> u64 {
    let bytes = bytes.as_ref().iter();
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[test]
fn a_hash_is_that_of_the_published_test() {
    assert_eq!(fnv("foobar"), 0x8594_4171_f739_67e8);
}
