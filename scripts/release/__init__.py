"""What a published version is made of: `python -m scripts.release` builds it, docs/releasing.md explains it.

``locks`` says which packages are locked, ``licences`` whether they may be used (``declared``: what they say
themselves), ``sbom`` lists them for others, ``changelog`` has what is new, ``repository`` asks git, and
``publication`` puts it all into one folder.
"""
