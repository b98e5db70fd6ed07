"""From a model to its clips, and from a clip or a speaker to every model.

`index` keeps which run used which clip how, `documents` what a run was made from; `answers` asks both questions,
`places` looks where recordings lie besides, and `page` draws the answer. Nothing here asks a server: that is
`tasks.audit`, which fills the index from MLflow.
"""
