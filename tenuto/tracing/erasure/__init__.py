"""Consent withdrawn: what names a speaker, how it is taken out of files, and what is kept so that it stays out.

`identities` says who is meant, `scrub` and `databases` rewrite what names her, `traces` walks through a workspace,
`refusals` keeps later imports from bringing her back, `records` holds the certificate and the journal of an erasure
that is under way. Registry, remotes and servers are reached by `tasks`.
"""
