"""The site as the provider of OpenID Connect for its own chat: who is signed in here is signed on there.

What is asked, the tokens, the keys that sign them, and the grants, each of which belongs to a session of the site
and ends with it. The pages and the endpoints are in `appliance/web`.
"""
