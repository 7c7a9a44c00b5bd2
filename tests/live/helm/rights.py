"""Compares rights in Kubernetes: see rights.sh.

  rights.py ROLE_FILE AUDIT_LOG     the chart's roles come in by standard input

A right is a verb on a resource of an API group. Three sets must be the same: what the chart gives, what the live environment gives (so that a right that
is missing fails a scenario), and what was used.
"""

import collections
import json
import sys

import yaml

# The user that Goldcrest is in the live environment.
USER = "goldcrest"

# Rights that are needed although no request shows it. Where applying makes an object, the log has `patch` alone, and `create` is asked for too. From
# Kubernetes 1.35 on, a command by WebSocket needs `create` beside `get`.
UNSEEN = {
    ("", "resourcequotas", "create"),
    ("", "limitranges", "create"),
    ("networking.k8s.io", "networkpolicies", "create"),
    ("kueue.x-k8s.io", "localqueues", "create"),
    ("", "pods/exec", "create"),
}


def given(document):
    rights = set()
    for role in yaml.safe_load_all(document):
        for rule in role.get("rules", []) if role else []:
            assert not {"nonResourceURLs", "resourceNames"} & rule.keys(), f"a rule that is not understood here: {rule}"
            rights |= {(group, resource, verb) for group in rule["apiGroups"] for resource in rule["resources"] for verb in rule["verbs"]}
    return rights


def used(log):
    """With the number of requests, and those that were refused to Goldcrest itself."""
    rights, refused = collections.Counter(), []
    for line in log:
        event = json.loads(line)
        if event["user"]["username"] != USER:
            continue
        if "impersonatedUser" in event:
            # The cluster decides about the rest by the other user's rights.
            rights[("", "users", "impersonate")] += 1
            continue
        place = event.get("objectRef")
        if place is None:
            continue
        resource = "/".join(filter(None, [place["resource"], place.get("subresource")]))
        right = (place.get("apiGroup", ""), resource, event["verb"])
        rights[right] += 1
        if event.get("annotations", {}).get("authorization.k8s.io/decision") == "forbid":
            refused.append((right, f"{event['verb']} {event['requestURI']}"))
    return rights, refused


def main():
    chart = given(sys.stdin)
    with open(sys.argv[1], encoding="utf-8") as role:
        environment = given(role)
    with open(sys.argv[2], encoding="utf-8") as log:
        counts, refused = used(log)
    # An API server that has just started refuses for a moment what its roles, which it reads then, allow.
    wrong = [f"refused: {request}" for right, request in sorted(set(refused)) if right not in environment]
    for what, found in (("the live environment gives", environment), ("was used", set(counts) | (chart & UNSEEN))):
        wrong += [f"the chart gives it, and not that {what}: {right}" for right in sorted(chart - found)]
        wrong += [f"{what[0].upper()}{what[1:]}, and the chart does not give it: {right}" for right in sorted(found - chart)]
    print("\n".join(wrong) or "every right was used, and none is missing")
    print(f"rights: {len(chart)} given, {len(chart & set(counts))} used in {sum(counts.values())} requests, {len(wrong)} wrong")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
