"""Who puts a name to what: statements, endorsements, certifications, layouts."""
