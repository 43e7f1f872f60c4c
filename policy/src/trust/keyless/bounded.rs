//! Whether a pattern stays with those it is meant for: one that an attacker could make his own name follow is refused.

use super::pattern::{Ends, PatternProblem, TextPattern};
use crate::sigstore::SubjectKind;

/// Hosts that many share, and how many segments of a path name one of them.
const SHARED_HOSTS: [(&str, usize); 16] = [
    ("agent.buildkite.com", 1),
    ("api.bitbucket.org", 5),
    ("bitbucket.org", 1),
    ("buildkite.com", 1),
    ("circleci.com", 3),
    ("container.googleapis.com", 3),
    ("g.codefresh.io", 1),
    ("github.com", 1),
    ("gitlab.com", 1),
    ("issuer.enforce.dev", 1),
    ("login.microsoftonline.com", 1),
    ("oidc.circleci.com", 2),
    ("storage.googleapis.com", 1),
    ("sts.windows.net", 1),
    ("token.actions.githubusercontent.com", 1),
    ("vstoken.dev.azure.com", 1),
];

/// Hosts of clusters, of which anybody may have one: the name in front differs from region to region.
const SHARED_HOST_ENDS: [(&str, usize); 2] = [(".amazonaws.com", 2), (".oic.prod-aks.azure.com", 2)];

/// Where anybody may have an address.
const PUBLIC_MAIL: [&str; 81] = [
    "126.com",
    "163.com",
    "aol.com",
    "att.net",
    "bk.ru",
    "btinternet.com",
    "comcast.net",
    "daum.net",
    "duck.com",
    "fastmail.com",
    "fastmail.fm",
    "foxmail.com",
    "free.fr",
    "freenet.de",
    "gmail.com",
    "gmx.at",
    "gmx.ch",
    "gmx.com",
    "gmx.de",
    "gmx.net",
    "googlemail.com",
    "hanmail.net",
    "hey.com",
    "hotmail.co.uk",
    "hotmail.com",
    "hotmail.de",
    "hotmail.fr",
    "icloud.com",
    "inbox.ru",
    "laposte.net",
    "libero.it",
    "list.ru",
    "live.co.uk",
    "live.com",
    "live.de",
    "live.fr",
    "mac.com",
    "mail.com",
    "mail.ru",
    "mailbox.org",
    "me.com",
    "msn.com",
    "naver.com",
    "o2.pl",
    "orange.fr",
    "outlook.com",
    "outlook.de",
    "outlook.fr",
    "pm.me",
    "posteo.de",
    "privaterelay.appleid.com",
    "proton.me",
    "protonmail.com",
    "qq.com",
    "rediffmail.com",
    "rocketmail.com",
    "seznam.cz",
    "sina.com",
    "t-online.de",
    "tuta.com",
    "tuta.io",
    "tutanota.com",
    "users.noreply.github.com",
    "users.noreply.gitlab.com",
    "verizon.net",
    "wanadoo.fr",
    "web.de",
    "wp.pl",
    "ya.ru",
    "yahoo.co.in",
    "yahoo.co.jp",
    "yahoo.co.uk",
    "yahoo.com",
    "yahoo.de",
    "yahoo.fr",
    "yandex.com",
    "yandex.ru",
    "yeah.net",
    "ymail.com",
    "zoho.com",
    "zohomail.com",
];

/// Google's service accounts: of a project's own domain, which is in front of this, and of domains that all projects share.
const SERVICE_ACCOUNTS: &str = "gserviceaccount.com";
const OF_PROJECT: &str = ".iam.gserviceaccount.com";
const OF_ALL_PROJECTS: &str = "gcp-sa-";

/// Domains under which anybody may have a host.
const SHARED_DOMAINS: [&str; 18] = [
    "amazonaws.com",
    "appspot.com",
    "azurewebsites.net",
    "cloudapp.azure.com",
    "cloudfront.net",
    "firebaseapp.com",
    "fly.dev",
    "github.io",
    "githubusercontent.com",
    "gitlab.io",
    "herokuapp.com",
    "netlify.app",
    "onrender.com",
    "pages.dev",
    "run.app",
    "vercel.app",
    "web.app",
    "workers.dev",
];

/// What registries of countries sell names under, as in `co.uk`.
const SOLD_UNDER: [&str; 8] = ["ac", "co", "com", "edu", "gov", "ne", "net", "org"];

/// That the issuers that match are one party's.
pub(super) fn check_issuer(pattern: &TextPattern) -> Result<(), PatternProblem> {
    if pattern.is_exact() {
        return Ok(());
    }
    pattern.ends().iter().try_for_each(|ends| check_uri("an issuer", ends))
}

/// That the subjects that match are one party's.
pub(super) fn check_subject(kind: SubjectKind, pattern: &TextPattern) -> Result<(), PatternProblem> {
    if pattern.is_exact() {
        return Ok(());
    }
    pattern.ends().iter().try_for_each(|ends| match kind {
        SubjectKind::Uri => check_uri("a subject", ends),
        SubjectKind::Email => check_mail(ends),
        SubjectKind::Dns => check_host(ends),
        SubjectKind::UserName => check_user(ends),
    })
}

/// A wildcard in front of the `@` that a ref stands behind: a branch may be called `x@refs/heads/main`, so that whoever
/// may push one branch follows the pattern with any workflow of theirs.
pub(in crate::trust) fn is_wide(pattern: &TextPattern) -> bool {
    let text = pattern.as_str();
    !pattern.is_exact() && text.split_once("**").is_some_and(|(_, rest)| rest.contains("@refs/"))
}

fn check_uri(what: &str, ends: &Ends) -> Result<(), PatternProblem> {
    let anybody = |better: &str| {
        let message = format!("{what} of somebody else could follow this pattern");
        Err(PatternProblem::new(message, format!("write out {better}, followed by `/`")))
    };
    let Some((scheme, rest)) = ends.prefix.split_once("://") else {
        return anybody("the scheme and the host, such as `https://ci.example.com`");
    };
    let Some((host, path)) = rest.split_once('/') else {
        return anybody(&format!("the whole host, such as `{scheme}://ci.example.com`"));
    };
    let named = host.to_ascii_lowercase();
    let exact = SHARED_HOSTS.iter().find(|(shared, _)| *shared == named);
    let ending = SHARED_HOST_ENDS.iter().find(|(shared, _)| named.ends_with(shared));
    let Some((_, segments)) = exact.or(ending) else {
        return if host.is_empty() { anybody("the host") } else { Ok(()) };
    };
    // Only what a `/` follows is whole: `acme*` is also `acme-evil`.
    if path.matches('/').count() >= *segments && !path.starts_with('/') {
        return Ok(());
    }
    anybody(&format!("whose it is at `{host}`, where anybody may have a name, such as `{scheme}://{host}/acme`"))
}

fn check_mail(ends: &Ends) -> Result<(), PatternProblem> {
    let Some((_, domain)) = ends.suffix.rsplit_once('@').filter(|(_, domain)| is_domain(domain)) else {
        let message = "an address of somebody else could follow this pattern";
        return Err(PatternProblem::new(message, "write out everything from the `@` on, such as `*@example.com`"));
    };
    let named = domain.to_ascii_lowercase();
    if PUBLIC_MAIL.contains(&named.as_str()) || is_shared_by_projects(&named) {
        let message = format!("anybody may have an address at `{domain}`");
        return Err(PatternProblem::new(message, "write out the whole address"));
    }
    Ok(())
}

fn check_host(ends: &Ends) -> Result<(), PatternProblem> {
    match ends.suffix.strip_prefix('.') {
        Some(domain) if is_domain(domain) && !is_shared_domain(&domain.to_ascii_lowercase()) => Ok(()),
        _ => {
            let message = "a host of somebody else could follow this pattern";
            Err(PatternProblem::new(message, "write out the whole domain, such as `*.build.example.com`"))
        }
    }
}

fn check_user(ends: &Ends) -> Result<(), PatternProblem> {
    match ends.suffix.rsplit_once('!') {
        Some((_, domain)) if is_domain(domain) => Ok(()),
        _ => {
            let message = "a user of somebody else could follow this pattern";
            Err(PatternProblem::new(message, "write out everything from the `!` on, such as `*!example.com`"))
        }
    }
}

fn is_shared_by_projects(domain: &str) -> bool {
    let is_of_project = domain.strip_suffix(OF_PROJECT).is_some_and(|project| !project.starts_with(OF_ALL_PROJECTS));
    !is_of_project && domain.strip_suffix(SERVICE_ACCOUNTS).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn is_shared_domain(domain: &str) -> bool {
    let is_sold_under = |(name, country): (&str, &str)| country.len() == 2 && SOLD_UNDER.contains(&name);
    let is_of_cloud = domain.ends_with(".amazonaws.com") || domain.ends_with(".cloudapp.azure.com");
    SHARED_DOMAINS.contains(&domain) || is_of_cloud || domain.split_once('.').is_some_and(is_sold_under)
}

fn is_domain(text: &str) -> bool {
    text.split('.').count() >= 2 && text.split('.').all(|label| !label.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::{issuer_expression, issuer_pattern, kind_of, subject_expression, subject_pattern};
    use super::*;

    /// Patterns that only one party can follow, and those that an attacker could.
    #[test]
    fn must_not_take_a_pattern_that_an_attackers_name_could_follow() {
        for good in [
            "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/*",
            "https://github.com/acme/**",
            "https://gitlab.com/acme/*//.gitlab-ci.yml@refs/heads/main",
            "https://ci.example.com/*",
            "spiffe://example.org/ns/prod/*",
            "*@example.com",
            "ann@gmail.com",
            "*!example.com",
            "*.build.example.com",
            "https://github.com/anybody/exact",
            "https://g.codefresh.io/acme/*",
            "https://issuer.enforce.dev/0123456789abcdef/*",
            "*@acme.iam.gserviceaccount.com",
            "*@acme.example.com.iam.gserviceaccount.com",
            "1234@cloudbuild.gserviceaccount.com",
            "*@notgserviceaccount.com",
            "*.acme.github.io",
            "*.acme.co.uk",
            "*.acme.co",
        ] {
            assert!(subject_pattern(kind_of(good), good).is_ok(), "{good}");
        }
        for bad in [
            "*",
            "**",
            "https://**",
            "https://github.com*",
            "https://github.com/*",
            "https://github.com/acme*",
            "https://github.com/acme**",
            "https://GitHub.com/*/app",
            "https://*.example.com/x",
            "https://github.com.*/acme/x",
            "spiffe://*/ns/prod",
            "spiffe:///*",
            "*@gmail.com",
            "ann@*",
            "*@*.com",
            "*example.com",
            "*.com",
            "ann!*",
            "https://g.codefresh.io/*",
            "https://issuer.enforce.dev/*",
            "*@cloudbuild.gserviceaccount.com",
            "*@developer.gserviceaccount.com",
            "*@appspot.gserviceaccount.com",
            "*@gcp-sa-pubsub.iam.gserviceaccount.com",
            "*@iam.gserviceaccount.com",
            "*@gserviceaccount.com",
            "*@users.noreply.github.com",
            "*@me.com",
            "*@msn.com",
            "*@163.com",
            "*@web.de",
            "*@yandex.ru",
            "*@Web.DE",
            "*.github.io",
            "*.GitHub.io",
            "*.co.uk",
            "*.com.au",
            "*.eu-west-1.compute.amazonaws.com",
        ] {
            let problem = subject_pattern(kind_of(bad), bad).unwrap_err();
            assert!(!problem.hint.is_empty(), "{bad}");
        }
    }

    #[test]
    fn must_not_take_an_expression_that_an_attackers_name_could_follow() {
        for (good, kind) in [
            ("^https://github\\.com/acme/app/.*$", SubjectKind::Uri),
            ("https://github\\.com/(acme|acme-labs)/app/.*", SubjectKind::Uri),
            (".*@example\\.com$", SubjectKind::Email),
        ] {
            assert!(subject_expression(kind, good).is_ok(), "{good}");
        }
        for (bad, kind) in [
            (".*", SubjectKind::Uri),
            ("https://github.com/acme/.*", SubjectKind::Uri),
            ("https://github\\.com/acme.*", SubjectKind::Uri),
            ("https://github\\.com/acme/.*|.*", SubjectKind::Uri),
            ("https://github\\.com/[a-z]+/app/.*", SubjectKind::Uri),
            (".*@example.com", SubjectKind::Email),
            (".*@(example\\.com|gmail\\.com)", SubjectKind::Email),
        ] {
            assert!(subject_expression(kind, bad).is_err(), "{bad}");
        }
        assert!(issuer_expression("https://container\\.googleapis\\.com/v1/projects/p/.*").is_ok());
        assert!(issuer_expression("https://.*").is_err());
    }

    #[test]
    fn must_not_take_an_issuer_that_anybody_could_run() {
        for good in [
            "https://token.actions.githubusercontent.com",
            "https://token.actions.githubusercontent.com/acme/*",
            "https://container.googleapis.com/v1/projects/acme/locations/*/clusters/*",
            "https://oidc.eks.eu-west-1.amazonaws.com/id/0123456789ABCDEF/*",
            "https://keycloak.example.com/realms/*",
        ] {
            assert!(issuer_pattern(good).is_ok(), "{good}");
        }
        for bad in [
            "https://token.actions.githubusercontent.com/*",
            "https://container.googleapis.com/v1/projects/*",
            "https://oidc.eks.eu-west-1.amazonaws.com/id/*",
            "https://*.example.com",
            "*",
        ] {
            assert!(issuer_pattern(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_wildcard_across_segments_in_front_of_a_ref_is_wide() {
        let wide = |text: &str| is_wide(&TextPattern::glob(text).unwrap());
        assert!(wide("https://github.com/acme/**@refs/heads/main"));
        assert!(!wide("https://github.com/acme/app/.github/workflows/*@refs/heads/main"));
        assert!(!wide("https://github.com/acme/app/.github/workflows/a.yml@refs/heads/**"));
    }
}
