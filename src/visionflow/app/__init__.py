"""A local web app around the page of `visionflow.look`: for this machine alone, with nothing sent anywhere.

`offers` says what there is to choose from, `asking` reads what was chosen, `session` answers and remembers, `server` is
the only part that knows HTTP (Flask, of the extra ``visionflow[app]``), and ``page/`` is what the browser gets.
"""
