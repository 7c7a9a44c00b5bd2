//! Rules from the configuration.

use async_trait::async_trait;

use super::{Authorizer, AuthzError, Basis, Decision, PolicyConfig, Relation, Rule, Ruling};
use crate::domain::{Principal, SystemName};

const ALL: &str = "*";

/// The authorizer over [`PolicyConfig`]. Access that no rule allows is refused.
pub struct LocalPolicy {
    name: &'static str,
    config: PolicyConfig,
}

impl LocalPolicy {
    /// Takes the rules; system names are compared in lower case.
    pub fn new(mut config: PolicyConfig) -> Self {
        for system in config.rules.iter_mut().flat_map(|rule| &mut rule.systems) {
            system.make_ascii_lowercase();
        }
        Self { name: "rules", config }
    }

    /// The policy if none is configured: every caller may use every cluster.
    pub fn open() -> Self {
        let all = || vec![ALL.to_owned()];
        let rule = Rule { systems: all(), users: all(), groups: Vec::new(), clients: Vec::new(), relations: Relation::ALL.to_vec() };
        Self { name: "none", config: PolicyConfig { rules: vec![rule] } }
    }

    fn decide(&self, principal: &Principal, relation: Relation, system: &SystemName) -> Ruling {
        let matching = self.config.rules.iter().position(|rule| {
            rule.relations.contains(&relation)
                && names(&rule.systems, [system.as_str()])
                && (names(&rule.users, [principal.username.as_str()])
                    || names(&rule.groups, principal.groups.iter().map(String::as_str))
                    || names(&rule.clients, principal.client_id.as_deref()))
        });
        let basis = Basis {
            authorizer: self.name,
            relation: relation.name().to_owned(),
            object: format!("system:{system}"),
            by: matching.map(|index| format!("rules[{index}]").into()),
            cached: false,
        };
        Ruling { decision: if matching.is_some() { Decision::Allowed } else { Decision::Denied }, basis }
    }
}

#[async_trait]
impl Authorizer for LocalPolicy {
    async fn check_all(&self, principal: &Principal, relation: Relation, systems: &[&SystemName]) -> Result<Vec<Ruling>, AuthzError> {
        Ok(systems.iter().map(|system| self.decide(principal, relation, system)).collect())
    }
}

/// True when the list names one of the values; `*` names any value, but not the lack of one.
fn names<'a>(list: &[String], values: impl IntoIterator<Item = &'a str>) -> bool {
    values.into_iter().any(|value| list.iter().any(|entry| entry == ALL || entry == value))
}

#[cfg(test)]
mod tests {
    use super::super::Rule;
    use super::*;
    use crate::domain::{Secret, Username};

    fn principal(user: &str, groups: &[&str], client: Option<&str>) -> Principal {
        Principal {
            username: Username::new(user).unwrap(),
            subject: user.to_owned(),
            client_id: client.map(str::to_owned),
            email: None,
            groups: groups.iter().map(|&group| group.to_owned()).collect(),
            scopes: Vec::new(),
            expires_at: jiff::Timestamp::now(),
            token: Secret::from(String::new()),
            is_service_account: false,
            validator: None,
        }
    }

    /// Allows nobody anything.
    fn rule() -> Rule {
        Rule { systems: Vec::new(), users: Vec::new(), groups: Vec::new(), clients: Vec::new(), relations: Relation::ALL.to_vec() }
    }

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    async fn decide(policy: &LocalPolicy, principal: &Principal, system: &str) -> Decision {
        policy.check(principal, Relation::Read, &SystemName::new(system).unwrap()).await.unwrap().decision
    }

    #[tokio::test]
    async fn what_no_rule_allows_is_refused() {
        let policy = LocalPolicy::new(PolicyConfig { rules: Vec::new() });
        assert_eq!(decide(&policy, &principal("ann", &["staff"], None), "daint").await, Decision::Denied);
    }

    #[tokio::test]
    async fn a_rule_allows_users_groups_or_clients_on_its_systems() {
        let rule =
            Rule { systems: list(&["Daint"]), users: list(&["ann"]), groups: list(&["/staff"]), clients: list(&["health"]), ..rule() };
        let policy = LocalPolicy::new(PolicyConfig { rules: vec![rule] });
        assert_eq!(decide(&policy, &principal("ann", &[], None), "daint").await, Decision::Allowed);
        assert_eq!(decide(&policy, &principal("bob", &["/staff"], None), "DAINT").await, Decision::Allowed);
        assert_eq!(decide(&policy, &principal("bob", &[], Some("health")), "daint").await, Decision::Allowed);
        assert_eq!(decide(&policy, &principal("bob", &["/staffers"], Some("heal")), "daint").await, Decision::Denied);
        assert_eq!(decide(&policy, &principal("ann", &[], None), "eiger").await, Decision::Denied);
    }

    #[tokio::test]
    async fn a_rule_allows_what_it_names_alone() {
        let reader = Rule { systems: list(&["*"]), users: list(&["ann"]), relations: vec![Relation::Read], ..rule() };
        let policy = LocalPolicy::new(PolicyConfig { rules: vec![reader] });
        let daint = SystemName::new("daint").unwrap();
        for (relation, expected) in
            [(Relation::Read, Decision::Allowed), (Relation::Submit, Decision::Denied), (Relation::Write, Decision::Denied)]
        {
            let ruling = policy.check(&principal("ann", &[], None), relation, &daint).await.unwrap();
            assert_eq!((ruling.decision, ruling.basis.relation.as_str()), (expected, relation.name()));
        }
    }

    #[tokio::test]
    async fn running_commands_is_allowed_by_the_rule_that_names_it_alone_and_where_there_are_no_rules() {
        let read = |relations: Option<&str>| {
            let relations = relations.map_or(String::new(), |relations| format!(r#", "relations": {relations}"#));
            let rule = format!(r#"{{"systems": ["*"], "users": ["ann"]{relations}}}"#);
            LocalPolicy::new(PolicyConfig { rules: vec![serde_json::from_str(&rule).unwrap()] })
        };
        for (policy, expected) in [
            (read(None), Decision::Denied),
            (read(Some(r#"["read", "run"]"#)), Decision::Allowed),
            (LocalPolicy::open(), Decision::Allowed),
        ] {
            let ruling = policy.check(&principal("ann", &[], None), Relation::Run, &SystemName::new("daint").unwrap()).await.unwrap();
            assert_eq!(ruling.decision, expected);
        }
    }

    #[tokio::test]
    async fn a_ruling_names_the_rule_that_allowed() {
        let rule = |user: &str| Rule { systems: list(&["*"]), users: list(&[user]), ..rule() };
        let policy = LocalPolicy::new(PolicyConfig { rules: vec![rule("ann"), rule("bob")] });
        let (daint, eiger) = (SystemName::new("daint").unwrap(), SystemName::new("eiger").unwrap());
        let rulings = policy.check_all(&principal("bob", &[], None), Relation::Read, &[&eiger, &daint]).await.unwrap();
        let told: Vec<_> = rulings.iter().map(|ruling| (ruling.basis.object.as_str(), ruling.basis.by.as_deref())).collect();
        assert_eq!(told, [("system:eiger", Some("rules[1]")), ("system:daint", Some("rules[1]"))]);
        let refused = policy.check(&principal("eve", &[], None), Relation::Read, &daint).await.unwrap();
        assert_eq!((refused.basis.authorizer, refused.basis.by), ("rules", None));
    }

    #[tokio::test]
    async fn a_star_stands_for_any_value_but_not_for_none() {
        let anyone_in_a_group = Rule { systems: list(&["*"]), groups: list(&["*"]), clients: list(&["*"]), ..rule() };
        let policy = LocalPolicy::new(PolicyConfig { rules: vec![anyone_in_a_group] });
        assert_eq!(decide(&policy, &principal("ann", &["x"], None), "daint").await, Decision::Allowed);
        assert_eq!(decide(&policy, &principal("ann", &[], None), "daint").await, Decision::Denied);
    }
}
