# shellcheck shell=bash
cp "$DOCS_WORK/site.yaml" goldcrest.yaml
