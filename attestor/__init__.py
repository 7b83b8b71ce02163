"""The writer: builds a plugin, describes it, signs what it says, and verifies its own output before handing it over.

One module, one purpose; data flows from the top of this list to its bottom:

    apart          how other people's code is started: with processes of its own alone
    git            runs git in somebody's clone
    source         what is built: a clean git commit, or an sdist identified by its digest
    unpack         source archives → directories, under caps
    wheelhouse     wheels locked by hash: resolved, fetched, cached
    environment    where a build runs: a fresh interpreter environment with fixed inputs and no network
    build          source + locked build requirements → wheel, and the record of how it was made
    zip_headers    the order, times, modes and compression of a wheel's entries, apart from their content
    compare        two wheels → one of four verdicts, and every difference with its place
    variation      builds twice under other conditions, and lets only the same bytes pass
    dependencies   what the wheel needs at run time, locked by hash or provided by the host
    vendored       distributions that the wheel carries inside
    sbom           the CycloneDX document of the wheel
    provenance     the SLSA provenance of the build
    manifest       the owner's declaration, completed with what only the build knows
    leaks          refuses to sign a statement that would give something away
    signers        private keys → signed bundles
    keyless        tokens → bundles of a Sigstore, under deadlines
    statements     values → statements that passed the leak gate
    review         reads a set as a host would: one's own output, or what one is about to sign
    pipeline       the order of the steps
    severity       how severe an advisory is
    osv            an operator's own database of advisories
    scanner        pip-audit as a library
    audit          what is known of the vulnerabilities of the dependencies
    licences       which licences there are, and which were agreed to
    waivers        what is let pass although a check did not
    suite          the tests of the source, run with the wheel
    check_tools    the single checks of a release, each by a tool of its trade
    checks         the release checklist
    amend          adds what was found to a set
    recipe         a signed provenance → all that a rebuild needs
    mirror         the source that a provenance names, held against its digests
    rebuild        builds again from a recipe, compares, signs the verdict
    endorse        the owner's signature, made elsewhere than in the build job
    covenant       a manifest in plain words
    certify        the certifier's verdict
    publish        hands wheel and attestation set to a server
    signatories    whose signature a command makes, and whose it expects
    places         where the commands find keys, servers and the files beside a wheel
    rebuild_cli    the command of whoever rebuilds
    check_cli      the commands that check what is released
    cli            the other commands

It imports only public modules of :mod:`verifier`, and nothing of the server.
"""
