"""Parts of the team's page: figures by person, agreement, what is to be settled, roles."""
