//! Inclusion proofs in a Merkle tree of SHA-256 (RFC 9162, section 2.1).

use aws_lc_rs::digest::{Context, SHA256};

/// A node of the tree.
pub(super) type Hash = [u8; 32];

/// The hash of a leaf (RFC 9162, section 2.1.1).
pub(super) fn leaf_hash(leaf: &[u8]) -> Hash {
    hash(&[&[0], leaf])
}

/// The root that follows from a leaf, its place, the size of the tree and the path between them (RFC 9162, section
/// 2.1.3.2); nothing when they do not fit together.
pub(super) fn root_of(leaf: Hash, index: u64, size: u64, path: &[Hash]) -> Option<Hash> {
    if index >= size {
        return None;
    }
    let (mut place, mut last) = (index, size - 1);
    let mut root = leaf;
    for sibling in path {
        if last == 0 {
            return None;
        }
        if place & 1 == 1 || place == last {
            root = hash(&[&[1], sibling, &root]);
            if place & 1 == 0 {
                while place & 1 == 0 && place != 0 {
                    place >>= 1;
                    last >>= 1;
                }
            }
        } else {
            root = hash(&[&[1], &root, sibling]);
        }
        place >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(root)
}

fn hash(parts: &[&[u8]]) -> Hash {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree by its definition (RFC 9162, section 2.1.1): slow, and obviously right.
    fn root(leaves: &[Vec<u8>]) -> Hash {
        match leaves {
            [leaf] => leaf_hash(leaf),
            leaves => {
                let (left, right) = leaves.split_at(split(leaves.len()));
                hash(&[&[1], &root(left), &root(right)])
            }
        }
    }

    fn split(count: usize) -> usize {
        let mut half = 1;
        while half * 2 < count {
            half *= 2;
        }
        half
    }

    /// The path by its definition (RFC 9162, section 2.1.3.1).
    fn path(index: usize, leaves: &[Vec<u8>]) -> Vec<Hash> {
        if leaves.len() == 1 {
            return Vec::new();
        }
        let (left, right) = leaves.split_at(split(leaves.len()));
        let (mut below, beside) = if index < left.len() {
            (path(index, left), root(right))
        } else {
            (path(index - left.len(), right), root(left))
        };
        below.push(beside);
        below
    }

    #[test]
    fn every_leaf_of_every_small_tree_is_proven_and_no_other_place_is() {
        for count in 1..=33_usize {
            let leaves: Vec<Vec<u8>> = (0..count).map(|number| number.to_string().into_bytes()).collect();
            let (size, expected) = (u64::try_from(count).unwrap(), root(&leaves));
            for index in 0..count {
                let proof = path(index, &leaves);
                let place = u64::try_from(index).unwrap();
                let leaf = leaf_hash(&leaves[index]);
                assert_eq!(root_of(leaf, place, size, &proof), Some(expected), "{index} of {count}");
                assert_eq!(root_of(leaf, place + size, size, &proof), None);
                for other in (0..size).filter(|other| *other != place) {
                    assert_ne!(root_of(leaf, other, size, &proof), Some(expected), "{index} as {other} of {count}");
                }
                let longer = [&proof[..], &[[7; 32]]].concat();
                assert_ne!(root_of(leaf, place, size, &longer), Some(expected));
                if let Some((_, shorter)) = proof.split_last() {
                    assert_ne!(root_of(leaf, place, size, shorter), Some(expected));
                }
            }
        }
    }

    #[test]
    fn must_not_take_a_node_for_a_leaf() {
        let leaves: Vec<Vec<u8>> = (0..4_u8).map(|number| vec![number]).collect();
        let node = [leaf_hash(&[0]), leaf_hash(&[1])].concat();
        let beside = hash(&[&[1], &leaf_hash(&[2]), &leaf_hash(&[3])]);
        assert_ne!(root_of(leaf_hash(&node), 0, 2, &[beside]), Some(root(&leaves)));
        assert_eq!(root_of(leaf_hash(&[0]), 0, 0, &[]), None);
    }
}
