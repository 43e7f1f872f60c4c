//! Signatures whose key a certificate holds, against the identities of a rule's authorities.

use std::sync::Arc;

use super::{Listening, Speaker, Unheard, Unproven, checks, entry_checks, reject};
use crate::evidence::FoundSignature;
use crate::reason::Code;
use crate::sigstore::{Certified, Introduction, Refusal, Vouchers, certify, introduce};
use crate::trust::{Authority, AuthorityIndex, KeyWindow, NamedRoot, TrustedIdentity};
use crate::verify::{Authenticated, Rejection, TimeEvidence, quoted};

/// What a signature comes to under one root.
type Introduced = Arc<Result<Introduction, Refusal>>;

/// An identity that is asked for, and the authority that it speaks for.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    index: AuthorityIndex,
    authority: &'a Authority,
    identity: &'a TrustedIdentity,
}

impl<'a> Listening<'a, '_> {
    /// Every identity that is asked for.
    pub(super) fn identities(&self) -> impl Iterator<Item = Asked<'a>> {
        let policy = self.rule.policy;
        let known = self.asked.iter().filter_map(move |index| Some((*index, policy.authority(*index)?)));
        known.flat_map(|(index, authority)| {
            authority.identities.iter().map(move |identity| Asked { index, authority, identity })
        })
    }

    /// Who speaks by a signature whose key a certificate holds.
    pub(super) fn by_certificate(&mut self, found: &FoundSignature) -> Result<Speaker<'a>, Unheard<'a>> {
        let (asked, facts, certified, vouchers) = self.holder(found)?;
        Ok(Speaker {
            authority: asked.index,
            name: &asked.authority.name,
            facts,
            window: &KeyWindow::UNBOUNDED,
            time: TimeEvidence::seen(&vouchers.seen, found.signature.timestamps().len()),
            certified: Some(certified),
            logs: vouchers.logs,
        })
    }

    /// The one authority whose identity the certificate is about, and those who vouch for that.
    fn holder(
        &mut self,
        found: &FoundSignature,
    ) -> Result<(Asked<'a>, Arc<Authenticated>, Certified, Vouchers), Unheard<'a>> {
        let mut known: Vec<(&NamedRoot, Introduced)> = Vec::new();
        let (mut refused, mut unproven) = (None::<Rejection>, None);
        let mut strangers = Vec::new();
        let mut chosen = None;
        let identities: Vec<_> = self.identities().collect();
        for asked in identities {
            // A certificate can have several names. Whose it is follows from what cannot be altered: were it the next one's
            // when the first one's evidence fails, whoever strips that would choose for whom it speaks.
            if chosen.is_some_and(|chosen| chosen != asked.index) {
                continue;
            }
            let introduced = match known.iter().find(|(root, _)| *root == &*asked.identity.root) {
                Some((_, introduced)) => Arc::clone(introduced),
                None => {
                    let introduced =
                        self.introduced(found, &asked.identity.root).map_err(|why| reject(found, why, None))?;
                    known.push((&asked.identity.root, Arc::clone(&introduced)));
                    introduced
                }
            };
            let introduction = match introduced.as_ref() {
                Ok(introduction) => introduction,
                Err(refusal) => {
                    refused.get_or_insert_with(|| reject(found, refusal.clone(), None));
                    continue;
                }
            };
            let identity = match introduction.claimed() {
                Ok(identity) => identity,
                Err(refusal) => {
                    refused.get_or_insert_with(|| reject(found, refusal, None));
                    continue;
                }
            };
            // Nobody can forge this certificate, so that what follows is done only for those who are asked for.
            let subject = match asked.identity.check(identity) {
                Ok(subject) => subject,
                Err(why) => {
                    let subjects = identity.subjects().iter().map(|(_, subject)| quoted(subject));
                    strangers.push((why, subjects.collect::<Vec<_>>().join(", ")));
                    continue;
                }
            };
            chosen = Some(asked.index);
            match self.certified(found, (introduction, subject), asked) {
                Ok((certified, vouchers)) => return Ok((asked, introduction.facts(), certified, vouchers)),
                // The most telling: whose it claims to be is asked for.
                Err(refusal) => {
                    if is_unseen(refusal.code) {
                        let (facts, window) = (introduction.facts(), &KeyWindow::UNBOUNDED);
                        let time = TimeEvidence::NONE;
                        unproven = Some(Box::new(Unproven { authority: asked.index, facts, window, time }));
                    }
                    refused = Some(reject(found, refusal, Some(&asked.authority.name)));
                }
            }
        }
        // A refusal of an authority's own signature says more than that it is not that of others.
        let of_asked = refused.take_if(|refused| refused.authority.is_some());
        let stranger = stranger(&strangers).map(|refusal| reject(found, refusal, None));
        let nobody = || {
            let message = "it was made with a certificate, and nobody is asked for".to_owned();
            reject(found, Refusal { code: Code::UntrustedKey, message }, None)
        };
        Err(Unheard { rejection: of_asked.or(stranger).or(refused).unwrap_or_else(nobody), unproven })
    }

    fn introduced(&mut self, found: &FoundSignature, root: &NamedRoot) -> Result<Introduced, Refusal> {
        let [authorities, _] = root.root.chains();
        self.budget.take_checks(checks(found) + authorities)?;
        Ok(introduce(&found.signature, &root.root, &found.memo))
    }

    fn certified(
        &mut self,
        found: &FoundSignature,
        introduction: (&Introduction, &str),
        asked: Asked<'_>,
    ) -> Result<(Certified, Vouchers), Refusal> {
        let root = &asked.identity.root;
        let [_, services] = root.root.chains();
        self.budget.take_checks(entry_checks(found))?;
        self.budget.take_times(found.signature.timestamps().len() * services)?;
        let demands = asked.authority.evidence.of_signature();
        certify(&found.signature, introduction, (&root.name, &root.root), &demands, &found.memo, self.now)
    }
}

/// Whether a refusal is for want of those who must have seen the signature: whoever serves it can take their word away.
fn is_unseen(code: Code) -> bool {
    matches!(code, Code::LogEntryInvalid | Code::LogEntryMissing | Code::TimestampMissing | Code::TimestampUntrusted)
}

/// That the certificate is about somebody who is not asked for: in what, where only one is.
fn stranger(strangers: &[(String, String)]) -> Option<Refusal> {
    let code = Code::IdentityMismatch;
    match strangers {
        [] => None,
        [(why, _)] => Some(Refusal { code, message: why.clone() }),
        [(_, subjects), ..] => {
            let message = format!("the certificate is about `{subjects}`, who is none of those who are asked for");
            Some(Refusal { code, message })
        }
    }
}
