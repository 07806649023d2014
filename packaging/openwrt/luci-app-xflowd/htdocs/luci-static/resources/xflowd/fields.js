'use strict';
'require baseclass';
'require form';
'require uci';
'require ui';

/* Sections and options as /etc/config/xflowd has them, whatever of UCI's spellings it uses. */

/* Names of sections are one word, and each is there once in the file, whatever its type. */
const NamedGrid = form.GridSection.extend({
	handleAdd: function(ev, name) {
		if (uci.get('xflowd', name) == null)
			return this.super('handleAdd', [ ev, name ]);

		ui.addNotification(null, E('p', _('There is a section of the name %s already.').format(name)), 'warning');
	}
});

/* A section that is there once, or not at all: then its options have their place, and the first value makes it. */
const Single = form.TypedSection.extend({
	cfgsections: function() {
		const found = this.super('cfgsections', []);
		let name = this.sectiontype;

		if (found.length)
			return found;

		while (uci.get('xflowd', name) != null)
			name += '_';

		return [ name ];
	},

	option: function() {
		const o = this.super('option', arguments);
		const write = o.write;

		o.write = function(section_id, value) {
			if (uci.get('xflowd', section_id) == null)
				uci.add('xflowd', this.section.sectiontype, section_id);

			return write.call(this, section_id, value);
		};

		return o;
	}
});

/* A list may also be written as an option, parted by commas or blanks, and under its name in INI files. */
function words(section_id, option) {
	const value = option ? uci.get('xflowd', section_id, option) : null;

	return Array.isArray(value) ? value : (value || '').split(/[\s,]+/).filter(function(word) { return word !== '' });
}

/* What o.load() gives, once it is there, through `change`: load() may have to ask for devices first. */
function loaded(o, change) {
	const load = o.load;

	o.load = function(section_id) {
		return Promise.resolve(load.call(this, section_id)).then(L.bind(change, this, section_id));
	};
}

function asList(o, plural) {
	const write = o.write, remove = o.remove;

	loaded(o, function(section_id) {
		const found = words(section_id, this.option).concat(words(section_id, plural));

		return found.length ? found : null;
	});
	o.write = function(section_id, value) {
		if (plural)
			uci.unset('xflowd', section_id, plural);

		return write.call(this, section_id, L.toArray(value));
	};
	o.remove = function(section_id) {
		if (plural)
			uci.unset('xflowd', section_id, plural);

		return remove.call(this, section_id);
	};
}

/* Words of which the first is the default, which is not written. `also` has other spellings. */
function asChoice(o, choices, also) {
	choices.forEach(function(choice, place) { o.value(place ? choice[0] : '', choice[1]) });
	loaded(o, function(section_id, value) {
		const lower = (value || '').toLowerCase();
		const word = (also || {})[lower] || lower;

		return word === '' || word === choices[0][0] ? null : word;
	});
}

/* 1, on, true, yes and enabled are the same to UCI. A flag is saved each time: only a change is to be written. */
function asSwitch(o) {
	const write = o.write, remove = o.remove;

	o.default = '1';
	o.write = function(section_id, value) {
		return value === this.cfgvalue(section_id) ? null : write.call(this, section_id, value);
	};
	o.remove = function(section_id) {
		return this.cfgvalue(section_id) === '1' ? null : remove.call(this, section_id);
	};
	loaded(o, function(section_id, value) {
		return value == null ? null : (/^(1|on|true|yes|enabled)$/.test(value) ? '1' : '0');
	});
}

return baseclass.extend({
	NamedGrid: NamedGrid,
	Single: Single,
	asChoice: asChoice,
	asList: asList,
	asSwitch: asSwitch
});
